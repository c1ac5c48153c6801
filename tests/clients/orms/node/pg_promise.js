import assert from "node:assert";
import initialise from "pg-promise";
import { PARTS, check, connection, versionOf } from "./scene.js";

const pgp = initialise();
const db = pgp({ ...connection, max: 1 });

await check({
  version: versionOf("pg-promise"),
  names: { db },
  refuse: () => db.one("SELECT lock_keys($1, timeout => '0')", [PARTS]),
  lock: () => db.one("SELECT lock_keys($1, session => true)", [PARTS]),
  unlock: () => db.one("SELECT release_keys($1)", [PARTS]),
  more: () => {
    // It writes the values into the text itself: an array, a list of arguments, and the first part alone.
    assert.equal(pgp.as.format("try_lock_keys($1)", [PARTS]), "try_lock_keys(array['report','daily'])");
    assert.equal(pgp.as.format("try_lock_keys($1:csv)", [PARTS]), "try_lock_keys('report','daily')");
    assert.equal(pgp.as.format("try_lock_keys($1)", PARTS), "try_lock_keys('report')");
  },
  end: () => pgp.end(),
});
