// Postgres.js (postgres). Parts are passed as an ordinary array; the server says that it is text[].
import { readFileSync } from "node:fs";
import postgres from "postgres";
import { ownKey, serve } from "./protocol.js";

const sql = postgres({ max: 1, host: process.env.PGHOST, types: { bigint: postgres.BigInt } });
let inTransaction = false;

async function begin() {
  if (!inTransaction) await sql`BEGIN`;
  inTransaction = true;
}

await serve({
  driver: () => "postgres " + JSON.parse(readFileSync(new URL("node_modules/postgres/package.json", import.meta.url))).version,
  key: async (parts) => {
    const [{ key }] = await sql`SELECT advisory_key(${parts}) AS key`;
    const [unprepared] = await sql.unsafe("SELECT advisory_key($1) AS key", [parts]);
    return [ownKey(parts), key, unprepared.key].join(" ");
  },
  try: async (parts) => {
    await begin();
    const [{ locked }] = await sql`SELECT try_lock_keys(${parts}) AS locked`;
    return locked;
  },
  integer: async (parts) => {
    await begin();
    const [{ locked }] = await sql`SELECT pg_try_advisory_xact_lock(${ownKey(parts)}) AS locked`;
    return locked;
  },
  wait: async (milliseconds, parts) => {
    await begin();
    const [{ locked }] = await sql`SELECT try_lock_keys(${parts}, timeout => ${milliseconds + "ms"}) AS locked`;
    return locked;
  },
  slot: async (slots, parts) => {
    await begin();
    const [{ locked }] = await sql`SELECT try_lock_slot(${parts}, ${slots}) AS locked`;
    return locked;
  },
  claim: async (wanted, parts) => {
    await begin();
    const names = parts.map((part) => [part]);
    const [{ rows }] = await sql`SELECT claim_keys(${names}, wanted => ${wanted}) AS rows`;
    return `{${rows}}`;
  },
  acquire: async (parts) => {
    await begin();
    await sql`CALL acquire_keys(${parts})`;
    return "ok";
  },
  fail: async (parts) => {
    await begin();
    try {
      await sql`SELECT lock_keys(${parts}, timeout => '0')`;
    } catch (error) {
      await sql`ROLLBACK`;
      inTransaction = false;
      return error.code;
    }
  },
  commit: async () => {
    await sql`COMMIT`;
    inTransaction = false;
    return "ok";
  },
});
