"""Databases with a released version's SQL, or updated from it, are dumped and restored where the present version is."""

import itertools
import subprocess

import pytest

from application import check_application, create_application
from description import description

PRIVILEGES = "REVOKE EXECUTE ON ROUTINE lock_keys FROM PUBLIC; GRANT EXECUTE ON ROUTINE lock_keys TO owner"


# To pg_dump it is all one.
pytestmark = pytest.mark.parametrize("preloaded", [False], indirect=True, ids=["on demand"])


def test_restored_is_as_installed_anew(server, connect, put_present):
    admin = connect()
    admin.execute("CREATE ROLE owner LOGIN")

    def new_database(name, role):
        """With the version that is at hand."""
        admin.execute(f"CREATE DATABASE {name} OWNER {role}")
        with connect(dbname=name, user=role) as db:
            db.execute("CREATE EXTENSION advisory_keys")
            create_application(db)
        if role == "postgres":
            with connect(dbname=name) as db:
                db.execute(PRIVILEGES)

    def program(name, role, *options, data=None):
        command = [f"{server.bindir}/{name}", "-h", admin.info.host, "-U", role, *options]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, input=data).stdout

    for role, state in itertools.product(["postgres", "owner"], ["old", "updated"]):
        new_database(f"{state}_of_{role}", role)
    put_present()
    for role in ("postgres", "owner"):
        new_database(f"fresh_of_{role}", role)
        with connect(dbname=f"updated_of_{role}", user=role) as db:
            db.execute("ALTER EXTENSION advisory_keys UPDATE")

    for role, state, form in itertools.product(["postgres", "owner"], ["old", "updated"], ["plain", "custom"]):
        dump = program("pg_dump", role, f"--format={form}", f"{state}_of_{role}")
        restored = f"{form}_of_{state}_of_{role}"
        admin.execute(f"CREATE DATABASE {restored} OWNER {role}")
        if form == "plain":
            program("psql", role, "-Xq", "-v", "ON_ERROR_STOP=1", "-d", restored, data=dump)
        else:
            program("pg_restore", role, "--exit-on-error", "-d", restored, data=dump)
        db, other, fresh = (connect(dbname=name, user=role) for name in (restored, restored, f"fresh_of_{role}"))
        assert description(db, server.bindir) == description(fresh, server.bindir), restored
        check_application(db, other)
