// node-postgres (pg). Integers of 64 bits come as text; BigInt keeps them whole.
import { readFileSync } from "node:fs";
import pg from "pg";
import { ownKey, serve } from "./protocol.js";

const connection = new pg.Client({ host: process.env.PGHOST });
await connection.connect();
let inTransaction = false;

async function one(text, values, name) {
  const { rows } = await connection.query({ text, values, name, rowMode: "array" });
  return rows[0][0];
}

async function begin() {
  if (!inTransaction) await connection.query("BEGIN");
  inTransaction = true;
}

async function inTransactionOne(text, values) {
  await begin();
  return one(text, values);
}

await serve({
  driver: () => "pg " + JSON.parse(readFileSync(new URL("node_modules/pg/package.json", import.meta.url))).version,
  key: async (parts) => {
    const ask = "SELECT advisory_key($1)";
    return [ownKey(parts), await one(ask, [parts]), await one(ask, [parts], "prepared")].join(" ");
  },
  try: (parts) => inTransactionOne("SELECT try_lock_keys($1)", [parts]),
  integer: (parts) => inTransactionOne("SELECT pg_try_advisory_xact_lock($1)", [ownKey(parts).toString()]),
  wait: (milliseconds, parts) =>
    inTransactionOne("SELECT try_lock_keys($1, timeout => $2)", [parts, `${milliseconds}ms`]),
  slot: (slots, parts) => inTransactionOne("SELECT try_lock_slot($1, $2)", [parts, slots]),
  claim: async (wanted, parts) => {
    const names = parts.map((part) => [part]);
    return `{${await inTransactionOne("SELECT claim_keys($1, wanted => $2)", [names, wanted])}}`;
  },
  acquire: async (parts) => {
    await begin();
    await connection.query("CALL acquire_keys($1)", [parts]);
    return "ok";
  },
  fail: async (parts) => {
    try {
      await inTransactionOne("SELECT lock_keys($1, timeout => '0')", [parts]);
    } catch (error) {
      await connection.query("ROLLBACK");
      inTransaction = false;
      return error.code;
    }
  },
  commit: async () => {
    await connection.query("COMMIT");
    inTransaction = false;
    return "ok";
  },
});
