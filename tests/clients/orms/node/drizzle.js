import assert from "node:assert";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import pg from "pg";
import { PARTS, check, connection, errorOf, versionOf } from "./scene.js";

const pool = new pg.Pool({ ...connection, max: 1 });
const db = drizzle(pool);

await check({
  version: versionOf("drizzle-orm"),
  names: { db, sql },
  refuse: () => db.execute(sql`SELECT lock_keys(${sql.param(PARTS)}, timeout => '0')`),
  lock: () => db.execute(sql`SELECT lock_keys(${sql.param(PARTS)}, session => true)`),
  unlock: () => db.execute(sql`SELECT release_keys(${sql.param(PARTS)})`),
  more: async () => {
    // A list becomes a row of parameters.
    const error = await errorOf(db.execute(sql`SELECT try_lock_keys(${PARTS})`));
    assert.match(error.cause.message, /try_lock_keys\(record\) does not exist/);
  },
  end: () => pool.end(),
});
