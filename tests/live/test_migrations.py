"""What docs/migrations.md says, taken from that page: two deployers at once, each with a migration that builds an index concurrently."""

import pathlib
import re
import subprocess
import sys

import pytest

from programs import environment
from scene import native_only, pid_of, scratch_database, wait_until

pytestmark = native_only("the portable edition waits with a snapshot")

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "migrations.md").read_text(encoding="utf-8")
LOCK = ["migrations", "shop"]


def block_with(text):
    """The one block of the page that has it."""
    (block,) = [block for block in re.findall(r"^```\w+\n(.+?)^```", PAGE, re.DOTALL | re.MULTILINE) if text in block]
    return block


@pytest.fixture
def shop(connect):
    """A database, a session in it, and the environment for programs that connect to it."""
    with scratch_database("shop") as name:
        db = connect(dbname=name)
        db.execute("CREATE TABLE parcel AS SELECT i AS id FROM generate_series(1, 1000) AS i")
        yield db, environment(db)


def deploy_twice(db, command, env, **options):
    """Two deployers, who both wait for the lock; (their exit codes in ascending order, the output of both)."""
    db.execute("SELECT lock_keys(%s, session => true)", [LOCK])
    deployers = [
        subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
        for _ in range(2)
    ]
    waiting = """SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid
        WHERE NOT granted AND datname = current_database()"""
    wait_until(
        lambda: db.execute(waiting).fetchone() == (2,) or any(deployer.poll() is not None for deployer in deployers), "both wait")
    db.execute("SELECT release_keys(%s)", [LOCK])
    outputs = [deployer.communicate(timeout=60)[0] for deployer in deployers]
    return sorted(deployer.returncode for deployer in deployers), "\n".join(outputs)


def indexes(db):
    return db.execute("SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'parcel'::regclass").fetchall()


def with_lock_keys(block):
    return block.replace("CALL acquire_keys(", "SELECT lock_keys(")


ENV_PY = """
from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

engine = create_engine("postgresql+psycopg://", poolclass=NullPool)
"""
MIGRATION = """
from alembic import op

revision, down_revision = "1", None


def upgrade():
    with op.get_context().autocommit_block():
        op.create_index("parcel_id", "parcel", ["id"], postgresql_concurrently=True)
"""


@pytest.mark.parametrize("lock", ["acquire_keys", "lock_keys"])
def test_alembic(shop, tmp_path, lock):
    db, env = shop
    block = block_with("context.configure")
    scripts = tmp_path / "scripts"
    (scripts / "versions").mkdir(parents=True)
    (scripts / "env.py").write_text(ENV_PY + (block if lock == "acquire_keys" else with_lock_keys(block)), encoding="utf-8")
    (scripts / "versions" / "1_index.py").write_text(MIGRATION, encoding="utf-8")
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = scripts\n", encoding="utf-8")
    codes, output = deploy_twice(db, [sys.executable, "-B", "-m", "alembic", "upgrade", "head"], env, cwd=tmp_path)
    if lock == "acquire_keys":
        assert codes == [0, 0], output
        assert indexes(db) == [("parcel_id", True)]
        assert db.execute("SELECT version_num FROM alembic_version").fetchall() == [("1",)]
    else:
        # Which of the two is ended, is chance; the other may find a half-made index then.
        assert codes != [0, 0] and "DeadlockDetected" in output, output


@pytest.mark.parametrize("lock", ["acquire_keys", "lock_keys"])
def test_around_any_tool(shop, tmp_path, lock):
    db, env = shop
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\nexec psql -X -v ON_ERROR_STOP=1 -c 'CREATE INDEX CONCURRENTLY IF NOT EXISTS parcel_id ON parcel (id)'\n")
    tool.chmod(0o755)
    script = block_with("flyway migrate").replace("flyway migrate", str(tool))
    if lock == "lock_keys":
        script = with_lock_keys(script).replace("10 min", "2 s")
    codes, output = deploy_twice(db, ["sh", "-c", script], env)
    # Postgres cannot see that psql waits for the tool, so that is no deadlock to it: it would hang for ever.
    assert (codes == [0, 0]) == (lock == "acquire_keys"), output
    assert indexes(db) == [("parcel_id", True)]


def test_around_any_tool_that_fails(shop):
    db, env = shop
    script = block_with("flyway migrate")
    failed = subprocess.run(["sh", "-c", script.replace("flyway migrate", "false")], env=env, capture_output=True, text=True, check=False)
    assert failed.returncode == 3, failed
    db.execute("SELECT lock_keys(%s, session => true)", [LOCK])
    script = script.replace("10 min", "10 ms").replace("flyway migrate", "psql -c 'DROP TABLE parcel'")
    failed = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=False)
    assert failed.returncode == 3 and "could not obtain advisory lock within 10 ms" in failed.stderr, failed
    assert indexes(db) == []


def test_the_statements_of_the_page(shop, connect):
    db, env = shop
    lock, _, release = block_with("-- run the migrations").strip().splitlines()
    db.execute(lock)
    assert db.execute("SELECT holds_keys(%s)", [LOCK]).fetchone() == (True,)
    assert db.execute(release).fetchone() == (1,)

    waiter = connect(dbname=env["PGDATABASE"])
    waiter.execute("SET default_transaction_isolation = 'repeatable read'")
    waiter.execute(block_with("BEGIN ISOLATION LEVEL READ COMMITTED"))
    assert db.execute("SELECT pid FROM advisory_locks WHERE granted").fetchall() == [(pid_of(waiter),)]
