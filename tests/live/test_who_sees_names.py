"""Who sees the names in `advisory_locks`, and the name behind a key."""

import pytest

from names import names_of
from scene import Background, name_key, native_only, pid_of, unique, wait_until_waiting
from server import MODES, connect, server_fixture  # noqa: F401, a fixture

pytestmark = native_only("names need shared memory")

server = server_fixture(MODES, max_prepared_transactions=5)


ROLES = {
    "regress_ak_owner": "", "regress_ak_member": "IN ROLE regress_ak_owner",
    "regress_ak_stranger": "", "regress_ak_stats": "IN ROLE pg_read_all_stats", "regress_ak_super": "SUPERUSER",
}


@pytest.fixture(scope="module")
def roles(server):
    with server.connect() as db:
        for role, rest in ROLES.items():
            db.execute(f"CREATE ROLE {role} LOGIN {rest}")
    return server


@pytest.mark.parametrize("reader, sees", [
    ("regress_ak_owner", True), ("regress_ak_member", True), ("regress_ak_stranger", False),
    ("regress_ak_stats", True), ("regress_ak_super", True),
])
def test_a_name_is_for_those_who_may_see_the_query(roles, connect, reader, sees):
    """Also of what waits; and the reader's own rows do not open those of others."""
    holder, waiter = connect(user="regress_ak_owner"), connect(user="regress_ak_owner")
    db, name = connect(user=reader), unique("private")
    holder.execute("SELECT lock_keys(%s, session => true)", [name])
    call = Background(waiter, "SELECT lock_keys(%s)", [name])
    wait_until_waiting(db, pid_of(waiter))
    db.execute("SELECT lock_keys(%s, session => true)", [unique("of the reader")])

    rows = db.execute("SELECT name, query FROM advisory_locks WHERE key = %s", [name_key(*name)]).fetchall()
    assert len(rows) == 2
    for shown, query in rows:
        assert shown == ("-".join(name) if sees else None)
        assert (query != "<insufficient privilege>") == sees
    holder.execute("SELECT unlock_keys(%s)", [name])
    call.result()


def test_a_stranger_does_not_see_the_name_of_a_prepared_transaction(roles, connect):
    holder, stranger, name = connect(user="regress_ak_owner"), connect(user="regress_ak_stranger"), unique("private")
    holder.execute("BEGIN")
    holder.execute("SELECT lock_keys(%s)", [name])
    holder.execute("PREPARE TRANSACTION 'live_private'")
    assert names_of(stranger, name) == [None]
    assert names_of(connect(), name) == ["-".join(name)]
    holder.execute("ROLLBACK PREPARED 'live_private'")


def test_who_waits_for_the_integer_does_not_learn_the_name(roles, connect):
    """Anybody can take an integer from pg_locks and wait for it; the own row then shows what the own row may."""
    owner, stranger, name = connect(user="regress_ak_owner"), connect(user="regress_ak_stranger"), unique("private")
    owner.execute("SELECT lock_keys(%s, session => true)", [name])
    call = Background(stranger, "SELECT pg_advisory_lock(%s)", [name_key(*name)])
    with connect(user="regress_ak_stranger") as observer:
        wait_until_waiting(observer, pid_of(stranger))
        assert names_of(observer, name) == [None, None]
        owner.execute("SELECT unlock_keys(%s)", [name])
        call.result()
        # It holds the lock now, and the owner is gone.
        owner.close()
        for reader in (observer, stranger):
            assert names_of(reader, name) == [None]
            assert reader.execute("SELECT advisory_key_name(%s)", [name_key(*name)]).fetchone() == (None,)
    assert names_of(connect(user="regress_ak_stats"), name) == ["-".join(name)]


def test_who_locks_by_the_same_name_sees_it_in_the_own_row_only(roles, connect):
    owner, other, name = connect(user="regress_ak_owner"), connect(user="regress_ak_stranger"), unique("shared")
    for db in (owner, other):
        db.execute("SELECT lock_keys(%s, shared => true, session => true)", [name])
    rows = dict(other.execute("SELECT pid, name FROM advisory_locks WHERE key = %s", [name_key(*name)]).fetchall())
    assert rows == {pid_of(owner): None, pid_of(other): "-".join(name)}


def test_a_role_set_later_does_not_change_whose_backend_it_is(roles, connect):
    holder, stranger, name = connect(), connect(user="regress_ak_stranger"), unique("private")
    holder.execute("SET ROLE regress_ak_stranger")
    holder.execute("SELECT lock_keys(%s, session => true)", [name])
    assert names_of(stranger, name) == [None]


@pytest.mark.parametrize("role, sees", [
    ("regress_ak_owner", True), ("regress_ak_member", True), ("regress_ak_stranger", False),
    ("regress_ak_stats", True), ("regress_ak_super", True),
])
def test_the_name_behind_a_key_is_for_roles_that_recorded_it(roles, connect, role, sees):
    owner, name = connect(user="regress_ak_owner"), unique("private")
    with owner.transaction():
        owner.execute("SELECT lock_keys(%s)", [name])
    owner.close()
    reader = connect(user=role)
    asked = reader.execute("SELECT advisory_key_name(%s)", [name_key(*name)]).fetchone()
    assert asked == ("-".join(name) if sees else None,)


def test_the_roles_that_recorded_a_name_last_may_read_it(roles, connect):
    """Four of them; who calls a function with its owner's rights records it for the owner."""
    admin, name = connect(), unique("busy")
    many = [f"regress_ak_busy_{i}" for i in range(5)]
    try:
        for role in many:
            admin.execute(f"CREATE ROLE {role}")
            admin.execute(f"SET ROLE {role}")
            admin.execute("SELECT try_lock_keys(%s), 1", [name])
            admin.execute("RESET ROLE")
        admin.execute("CREATE FUNCTION asks(key bigint) RETURNS text SECURITY DEFINER RETURN advisory_key_name(key)")
        admin.execute(f"ALTER FUNCTION asks OWNER TO {many[4]}")
        told = {}
        for role in [*many, "regress_ak_stranger"]:
            admin.execute(f"SET ROLE {role}")
            told[role] = admin.execute("SELECT advisory_key_name(%s)", [name_key(*name)]).fetchone()[0] is not None
            assert admin.execute("SELECT asks(%s)", [name_key(*name)]).fetchone() == ("-".join(name),)
            admin.execute("RESET ROLE")
        assert told == {many[0]: False, **dict.fromkeys(many[1:], True), "regress_ak_stranger": False}
    finally:
        admin.execute("RESET ROLE")
        admin.execute("DROP FUNCTION IF EXISTS asks")
        for role in many:
            admin.execute(f"DROP ROLE IF EXISTS {role}")


def test_a_role_that_was_dropped_leaves_the_name_to_nobody(roles, connect):
    admin, name = connect(), unique("private")
    admin.execute("CREATE ROLE regress_ak_gone; SET ROLE regress_ak_gone")
    admin.execute("SELECT try_lock_keys(%s), 1", [name])
    admin.execute("RESET ROLE; DROP ROLE regress_ak_gone; CREATE ROLE regress_ak_gone; SET ROLE regress_ak_gone")
    assert admin.execute("SELECT advisory_key_name(%s)", [name_key(*name)]).fetchone() == (None,)
    admin.execute("RESET ROLE; DROP ROLE regress_ak_gone")
    assert admin.execute("SELECT advisory_key_name(%s)", [name_key(*name)]).fetchone() == ("-".join(name),)
