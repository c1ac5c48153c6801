import assert from "node:assert";
import createKnex from "knex";
import { PARTS, check, connection, errorOf, hold, isFree, isWaiting, release, until, versionOf } from "./scene.js";

const knex = createKnex({ client: "pg", connection, pool: { min: 1, max: 1 } });
const lock = () => knex.raw("SELECT lock_keys(?, session => true)", [PARTS]);

await check({
  version: versionOf("knex"),
  names: { knex },
  refuse: () => knex.raw("SELECT lock_keys(?, timeout => '0')", [PARTS]),
  lock,
  unlock: () => knex.raw("SELECT release_keys(?)", [PARTS]),
  more: async () => {
    // Its timeout leaves the statement in the queue, unless it is told to cancel it.
    await hold();
    await errorOf(lock().timeout(200));
    assert(await isWaiting());
    await release();
    await until(async () => !(await isFree()), "the connection that was given up has the lock");
    await knex.raw("SELECT 1");
    await until(isFree, "that connection is closed");
    await hold();
    await errorOf(lock().timeout(200, { cancel: true }));
    assert(!(await isWaiting()));
    await release();
    assert(await isFree());
  },
  end: () => knex.destroy(),
});
