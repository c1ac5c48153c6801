import assert from "node:assert";
import { DataSource } from "typeorm";
import { PARTS, check, connection, versionOf } from "./scene.js";

const credentials = { ...connection, username: connection.user };
const dataSource = await new DataSource({ type: "postgres", ...credentials, poolSize: 1 }).initialize();

await check({
  version: versionOf("typeorm"),
  names: { dataSource },
  refuse: () => dataSource.query("SELECT lock_keys($1, timeout => '0')", [PARTS]),
  lock: () => dataSource.query("SELECT lock_keys($1, session => true)", [PARTS]),
  unlock: () => dataSource.query("SELECT release_keys($1)", [PARTS]),
  more: async () => {
    // query() goes to the primary, the query builder to a replica; the replica is another database here.
    const replication = { master: credentials, slaves: [{ ...credentials, database: "template1" }] };
    const split = await new DataSource({ type: "postgres", replication }).initialize();
    assert.equal((await split.query("SELECT current_database() AS name"))[0].name, connection.database);
    const builder = split.createQueryBuilder().select("current_database()", "name").from("(SELECT 1)", "one");
    assert.equal((await builder.getRawOne()).name, "template1");
    await split.destroy();
  },
  end: () => dataSource.destroy(),
});
