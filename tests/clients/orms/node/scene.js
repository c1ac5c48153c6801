// What is done to each library: the block of the page, what a refusal is, and what becomes of a session-level lock in its pool.
import assert from "node:assert";
import { readFileSync } from "node:fs";
import pg from "pg";

export const PARTS = ["report", "daily"];
export const connection = {
  host: process.env.PGHOSTADDR,
  port: Number(process.env.PGPORT),
  user: process.env.PGUSER,
  password: process.env.PGPASSWORD,
  database: process.env.PGDATABASE,
};

const AsyncFunction = (async () => {}).constructor;
const { block, sqlstate } = JSON.parse(process.argv[2]);
const other = new pg.Client(connection);
await other.connect();

// The other session, and whether it could have the lock.
export const hold = () => other.query("SELECT lock_keys($1, session => true)", [PARTS]);
export const release = () => other.query("SELECT release_keys($1)", [PARTS]);
export const isFree = async () => (await other.query("SELECT keys_available($1)", [PARTS])).rows[0].keys_available;
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(condition, what) {
  const end = Date.now() + 20000;
  while (!(await condition())) {
    assert(Date.now() < end, `never happened: ${what}`);
    await sleep(5);
  }
}

export const isWaiting = async () =>
  (await other.query("SELECT EXISTS (SELECT FROM advisory_locks WHERE NOT granted) AS waits")).rows[0].waits;

// The error of something that must fail.
export async function errorOf(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert.fail("it did not fail");
}

export const versionOf = (name) =>
  JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version;

// names: what the block uses; refuse, lock, unlock: lock_keys without waiting, and at session level, on one connection of the pool.
export async function check({ version, names, refuse, lock, unlock, more, end }) {
  let reports = 0;
  const report = async () => {
    assert.equal(await isFree(), false);
    reports += 1;
  };
  const run = new AsyncFunction("report", ...Object.keys(names), `${block}\nreturn locked;`);
  const attempt = () => run(report, ...Object.values(names));
  assert.equal(await attempt(), true);
  assert.equal(reports, 1);
  assert(await isFree());

  await hold();
  assert.equal(await attempt(), false);
  assert.equal(reports, 1);
  const error = await errorOf(refuse());
  assert.equal(new Function("error", `return ${sqlstate}`)(error), "55P03");
  await release();

  await lock();
  const pool = (await isFree()) ? "released" : "held";
  await unlock();
  assert(await isFree());
  // Often enough that a cached or prepared statement would show.
  for (let time = 0; time < 10; time += 1) assert.equal(await attempt(), true);
  await more?.();
  await end();
  await other.end();
  console.log(JSON.stringify({ version, refused: error.constructor.name, pool }));
}
