// node-postgres' Pool.
import assert from "node:assert";
import pg from "pg";
import { PARTS, check, connection, errorOf, hold, isFree, isWaiting, release, until, versionOf } from "./scene.js";

const pool = new pg.Pool({ ...connection, max: 1 });

await check({
  version: versionOf("pg"),
  names: { pool },
  refuse: () => pool.query("SELECT lock_keys($1, timeout => '0')", [PARTS]),
  lock: () => pool.query("SELECT lock_keys($1, session => true)", [PARTS]),
  unlock: () => pool.query("SELECT release_keys($1)", [PARTS]),
  more: async () => {
    // query_timeout gives up in the client only; the statement goes on, and the lock is granted to a connection in the pool.
    const hasty = new pg.Pool({ ...connection, max: 1, query_timeout: 200 });
    await hold();
    const client = await hasty.connect();
    const error = await errorOf(client.query("SELECT lock_keys($1, session => true)", [PARTS]));
    assert.equal(error.message, "Query read timeout");
    assert(await isWaiting());
    client.release();
    await release();
    await until(async () => !(await isFree()), "the pool has the lock");
    assert((await hasty.query("SELECT holds_keys($1)", [PARTS])).rows[0].holds_keys);
    await hasty.end();
    await until(isFree, "the pool is closed");

    // statement_timeout is the server's.
    const patient = new pg.Pool({ ...connection, max: 1, statement_timeout: 200 });
    await hold();
    assert.equal((await errorOf(patient.query("SELECT lock_keys($1, session => true)", [PARTS]))).code, "57014");
    await release();
    assert(await isFree());

    // A number is seconds.
    const { rows } = await patient.query("SELECT $1::interval = '33 min 20 s' AS same", [2000]);
    assert(rows[0].same);
    await patient.end();
  },
  end: () => pool.end(),
});
