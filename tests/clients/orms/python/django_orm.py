import django
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from scene import CONNECTION, PARTS, answer, check, held, is_free

settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "HOST": CONNECTION["host"], "PORT": CONNECTION["port"], "USER": CONNECTION["user"],
    "PASSWORD": CONNECTION["password"], "NAME": CONNECTION["database"], "OPTIONS": {"pool": {"min_size": 1, "max_size": 1}},
}})
django.setup()


def execute(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement, [PARTS])
        return cursor.fetchone()[0]


def execute_in_a_request(statement):
    """The connection goes back to the pool at a request's end."""
    execute(statement)
    connection.close()


def refuse():
    with transaction.atomic():
        execute("SELECT lock_keys(%s, timeout => '0')")


facts = check(
    version=django.__version__,
    names={"connection": connection, "transaction": transaction},
    refuse=refuse,
    lock=lambda: execute_in_a_request("SELECT lock_keys(%s, session => true)"),
    unlock=lambda: execute_in_a_request("SELECT release_keys(%s)"),
)

# Autocommit is its default.
assert execute("SELECT try_lock_keys(%s)") is True
assert is_free()

# An error that is caught inside of atomic() has ended the transaction all the same; an atomic() of its own is a savepoint.
with held():
    try:
        with transaction.atomic():
            try:
                execute("SELECT lock_keys(%s, timeout => '0')")
            except DatabaseError:
                pass
            execute("SELECT try_lock_keys(%s)")
        raise AssertionError("it did not fail")
    except django.db.InternalError as error:
        assert error.__cause__.sqlstate == "25P02"
    with transaction.atomic():
        try:
            refuse()
        except DatabaseError:
            pass
        assert execute("SELECT try_lock_keys(%s)") is False

# A savepoint that is rolled back releases what was locked since.
with transaction.atomic():
    try:
        with transaction.atomic():
            execute("SELECT lock_keys(%s)")
            raise ValueError
    except ValueError:
        assert is_free()
connection.close()
answer(facts)
