"""The behaviour this project began with, from two connections."""

import psycopg
import pytest

from scene import name_key

NAME = ["SIGNUP-EMAIL", "bob@example.com"]


def test_lock_again_refuse_commit_succeed(connect):
    first, second = connect(autocommit=False), connect(autocommit=False)
    lock = "SELECT try_lock_keys(%s)"

    assert first.execute(lock, [NAME]).fetchone() == (True,)
    assert first.execute(lock, [NAME]).fetchone() == (True,)
    assert second.execute(lock, [NAME]).fetchone() == (False,)
    with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
        second.execute("SELECT lock_keys(%s, timeout => '0')", [NAME])
    assert refused.value.sqlstate == "55P03"
    assert '"SIGNUP-EMAIL-bob@example.com"' in refused.value.diag.message_detail
    assert f"process {first.info.backend_pid}" in refused.value.diag.message_detail
    second.rollback()
    first.commit()
    assert second.execute(lock, [NAME]).fetchone() == (True,)


def test_keys_are_those_of_any_program(connect):
    db = connect()
    for parts in (NAME, ["order", "42"], [""], ["", ""], ["ä", "日本", "🔒"], ["a-b", "c"]):
        assert db.execute("SELECT advisory_key(%s)", [parts]).fetchone() == (name_key(*parts),)


def test_clients_that_hash_for_themselves_and_ours_exclude_each_other(connect):
    old, new = connect(autocommit=False), connect(autocommit=False)
    by_integer, by_name = "SELECT pg_try_advisory_xact_lock(%s)", "SELECT try_lock_keys(%s)"

    assert old.execute(by_integer, [name_key(*NAME)]).fetchone() == (True,)
    assert new.execute(by_name, [NAME]).fetchone() == (False,)
    old.rollback()
    assert new.execute(by_name, [NAME]).fetchone() == (True,)
    assert old.execute(by_integer, [name_key(*NAME)]).fetchone() == (False,)
