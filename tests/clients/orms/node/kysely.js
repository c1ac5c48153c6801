import { Kysely, PostgresDialect, sql } from "kysely";
import pg from "pg";
import { PARTS, check, connection, versionOf } from "./scene.js";

const db = new Kysely({ dialect: new PostgresDialect({ pool: new pg.Pool({ ...connection, max: 1 }) }) });

await check({
  version: versionOf("kysely"),
  names: { db, sql },
  refuse: () => sql`SELECT lock_keys(${PARTS}, timeout => '0')`.execute(db),
  lock: () => sql`SELECT lock_keys(${PARTS}, session => true)`.execute(db),
  unlock: () => sql`SELECT release_keys(${PARTS})`.execute(db),
  end: () => db.destroy(),
});
