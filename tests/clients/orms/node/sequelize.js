import assert from "node:assert";
import { QueryTypes, Sequelize } from "sequelize";
import { PARTS, check, connection, errorOf, versionOf } from "./scene.js";

const { database, user, password, host, port } = connection;
const options = { host, port, dialect: "postgres", logging: false, pool: { max: 1 } };
const sequelize = new Sequelize(database, user, password, options);

await check({
  version: versionOf("sequelize"),
  names: { sequelize, QueryTypes },
  refuse: () => sequelize.query("SELECT lock_keys($1, timeout => '0')", { bind: [PARTS] }),
  lock: () => sequelize.query("SELECT lock_keys($1, session => true)", { bind: [PARTS] }),
  unlock: () => sequelize.query("SELECT release_keys($1)", { bind: [PARTS] }),
  more: async () => {
    // Replacements make several arguments of a list.
    const error = await errorOf(sequelize.query("SELECT try_lock_keys(?)", { replacements: [PARTS] }));
    assert.match(error.message, /malformed array literal/);
    const [rows] = await sequelize.query("SELECT try_lock_keys(ARRAY[?]) AS locked", { replacements: [PARTS] });
    assert.equal(rows[0].locked, true);

    // What is a SELECT to it goes to a replica, but not in a transaction; the replica is another database here.
    const replication = { write: { ...connection, username: user }, read: [{ ...connection, username: user, database: "template1" }] };
    const split = new Sequelize(database, user, password, { ...options, pool: { max: 2 }, replication });
    const where = async (more) =>
      (await split.query("SELECT current_database() AS name", { type: QueryTypes.SELECT, ...more }))[0].name;
    assert.equal(await where(), "template1");
    assert.equal(await where({ useMaster: true }), database);
    await split.transaction(async (transaction) => assert.equal(await where({ transaction }), database));
    await split.close();
  },
  end: () => sequelize.close(),
});
