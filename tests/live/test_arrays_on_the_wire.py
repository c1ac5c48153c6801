"""Arrays as drivers send them: as an untyped `$1`, in text and in binary form, and binary forms that
no driver would send. Whatever comes, the answer is right or an error that says what is wrong."""

import random
import struct
import threading
import time

import psycopg
import pytest
from psycopg.pq import DiagnosticField, ExecStatus, Format

from scene import Background, held_keys, name_key, pid_of

TEXT, BINARY = Format.TEXT, Format.BINARY
BOOLEAN, BIGINT, TEXT_OID, TEXT_ARRAY, INTERVAL = 16, 20, 25, 1009, 1186

CALLS = [
    "advisory_key($1)",
    "try_lock_keys($1)",
    "try_lock_keys($1, session => true)",
    "lock_keys($1)",
    "lock_keys($1, session => true)",
    "unlock_keys($1)",
    "release_keys($1)",
    "holds_keys($1)",
    "keys_available($1)",
]

every_call = pytest.mark.parametrize("call", CALLS)


def binary_array(parts, dims=None, lower=1, element=TEXT_OID, flags=0, ndim=None):
    """text[] in the form of array_recv() in src/backend/utils/adt/arrayfuncs.c; None is NULL."""
    dims = [len(parts)] if dims is None else dims
    array = struct.pack("!iiI", len(dims) if ndim is None else ndim, flags, element)
    array += b"".join(struct.pack("!ii", dim, lower) for dim in dims)
    return array + b"".join(binary_part(part) for part in parts)


def binary_part(part):
    return struct.pack("!i", -1) if part is None else struct.pack("!i", len(part)) + part


def answer(result):
    """The SQLSTATE of an error, or the value as it came."""
    if result.status == ExecStatus.TUPLES_OK:
        return result.get_value(0, 0)
    assert result.status == ExecStatus.FATAL_ERROR
    return result.error_field(DiagnosticField.SQLSTATE).decode()


def send(db, call, array, type_oid=TEXT_ARRAY):
    return answer(db.pgconn.exec_params(f"SELECT {call}".encode(), [array], [type_oid], [BINARY]))


# Untyped parameters. With an overload for text, Postgres would take {a,b} for a string.


@every_call
def test_an_untyped_parameter_is_an_array(connect, call):
    db = connect().pgconn
    db.prepare(b"p", f"SELECT {call}".encode(), [0])
    described = db.describe_prepared(b"p")
    assert described.nparams == 1 and described.param_type(0) == TEXT_ARRAY


@pytest.mark.parametrize("function", ["try_lock_keys", "lock_keys"])
def test_untyped_flags_and_timeouts_are_known_too(connect, function):
    db = connect().pgconn
    db.prepare(b"p", f"SELECT {function}($1, timeout => $2, shared => $3, session => $4)".encode(), [0] * 4)
    described = db.describe_prepared(b"p")
    assert [described.param_type(i) for i in range(4)] == [TEXT_ARRAY, INTERVAL, BOOLEAN, BOOLEAN]
    result = db.exec_prepared(b"p", [b"{a,b}", b"5s", b"f", b"f"])
    assert answer(result) == (b"t" if function == "try_lock_keys" else b"")


@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize(
    "value, format", [(b"{a,b}", TEXT), (binary_array([b"a", b"b"]), BINARY)], ids=["text", "binary"]
)
def test_every_function_takes_it_for_the_same_key(connect, value, format, prepared):
    connection, observer = connect(), connect()
    db, pid = connection.pgconn, pid_of(connection)
    held = [(name_key("a", "b"), "ExclusiveLock")]

    def call(function, rest=""):
        statement = f"SELECT {function}($1{rest})".encode()
        if not prepared:
            return answer(db.exec_params(statement, [value], [0], [format]))
        db.prepare(statement, statement, [0])
        # Often enough for Postgres to go over to a generic plan for the last ones.
        answers = {answer(db.exec_prepared(statement, [value], [format])) for _ in range(7)}
        assert len(answers) == 1
        return answers.pop()

    assert call("advisory_key") == str(name_key("a", "b")).encode()
    for function, locked in (("try_lock_keys", b"t"), ("lock_keys", b"")):
        assert call(function) == locked
        assert call(function, ", session => true") == locked
        assert held_keys(observer, pid) == held
        assert (call("holds_keys"), call("keys_available"), call("unlock_keys")) == (b"t", b"t", b"t")
        assert held_keys(observer, pid) == []
    assert (call("holds_keys"), call("keys_available")) == (b"f", b"t")
    observer.execute("SELECT lock_keys('{a,b}', session => true)")
    assert (call("try_lock_keys"), call("keys_available")) == (b"f", b"f")


def test_rows_are_keys_in_binary_form_too(connect):
    db = connect()
    rows = binary_array([b"a", b"1", b"b", b"2"], dims=[2, 2])
    assert send(db, "try_lock_keys($1, session => true)", rows) == b"t"
    assert held_keys(db, pid_of(db)) == sorted(
        (name_key(*name), "ExclusiveLock") for name in (["a", "1"], ["b", "2"])
    )


@pytest.mark.parametrize("lower", [0, 2, -1, -(2**31), 2**31 - 3])
def test_lower_bounds_do_not_matter(connect, lower):
    array = binary_array([b"order", b"42"], lower=lower)
    assert send(connect(), "advisory_key($1)", array) == str(name_key("order", "42")).encode()


# Arrays that no driver would send: what the contract says, or the error of array_recv().

INVALID_BINARY, MISMATCH, LIMIT, PROTOCOL = "22P03", "42804", "54000", "08P01"
AB = [b"a", b"b"]

MALFORMED = {
    "integers instead of text": (binary_array([struct.pack("!i", 7)], element=23), {MISMATCH}),
    "varchar instead of text": (binary_array(AB, element=1043), {MISMATCH}),
    "an element type that is not there": (binary_array(AB, element=9_999), {MISMATCH}),
    "flags that mean nothing": (binary_array(AB, flags=6), {INVALID_BINARY}),
    "a negative number of dimensions": (binary_array(AB, ndim=-1), {INVALID_BINARY}),
    "seven dimensions": (binary_array([b"a"], dims=[1] * 7), {LIMIT}),
    "a huge number of dimensions": (binary_array(AB, ndim=2**31 - 1), {LIMIT}),
    "a negative length of a dimension": (binary_array(AB, dims=[-2]), {LIMIT, INVALID_BINARY}),
    "more elements than memory": (binary_array(AB, dims=[2**27, 2**27]), {LIMIT}),
    "a product that overflows to 0": (binary_array(AB, dims=[2**16] * 4), {LIMIT}),
    "an upper bound that overflows": (binary_array(AB, lower=2**31 - 1), {LIMIT}),
    "fewer elements than announced": (binary_array(AB, dims=[3]), {INVALID_BINARY, PROTOCOL}),
    "more elements than announced": (binary_array(AB, dims=[1]), {INVALID_BINARY}),
    "an element of negative length": (binary_array([], dims=[1]) + struct.pack("!i", -2), {INVALID_BINARY}),
    "an element longer than the message": (binary_array([b"x" * 1000])[:-1], {INVALID_BINARY}),
    "nothing": (b"", {INVALID_BINARY, PROTOCOL}),
    "half a header": (binary_array(AB)[:6], {INVALID_BINARY, PROTOCOL}),
    "a zero byte": (binary_array([b"a\0b"]), {"22021"}),
    "bytes that are no UTF-8": (binary_array([b"\xff"]), {"22021"}),
    "no dimension": (binary_array([], dims=[]), {"22023"}),
    "a dimension of nothing": (binary_array([], dims=[0]), {"22023"}),
    "rows of nothing": (binary_array([], dims=[2, 0]), {"22023"}),
    "three dimensions": (binary_array([b"a"], dims=[1, 1, 1]), {"2202E"}),
    "a NULL part": (binary_array([b"a", None], flags=1), {"22004"}),
    "a NULL part that is not announced": (binary_array([None, b"a"]), {"22004"}),
    "NULL parts only": (binary_array([None] * 20, flags=1), {"22004"}),
    "a NULL array": (None, {"22004"}),
}


@every_call
def test_what_is_no_array_of_keys_is_an_error_that_says_so(connect, call):
    db = connect()
    for what, (array, expected) in MALFORMED.items():
        assert send(db, call, array) in expected, what
    assert held_keys(db, pid_of(db)) == []


@pytest.mark.parametrize(
    "array",
    [binary_array(AB, flags=1), binary_array(AB, element=4_000_000_000)],
    ids=["the NULL flag without a NULL", "an element type that may be text elsewhere"],
)
def test_what_postgres_lets_pass_has_the_right_key(connect, array):
    assert send(connect(), "advisory_key($1)", array) == str(name_key("a", "b")).encode()


@every_call
def test_damaged_arrays_are_survived(connect, call):
    """Random damage to a good array; whatever comes back is an answer or an orderly error."""
    rng = random.Random(f"damage to {call}")
    db = connect()
    orderly = {INVALID_BINARY, MISMATCH, LIMIT, PROTOCOL, "22004", "22021", "22023", "2202E"}
    for _ in range(150):
        array = bytearray(binary_array([b"a", b"bb", None, b"ccccccccc"][: rng.choice([2, 4])], flags=1))
        for _ in range(rng.randint(1, 3)):
            array[rng.randrange(len(array))] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        outcome = send(db, call, bytes(array[: rng.choice([None, rng.randrange(len(array))])]))
        assert isinstance(outcome, bytes) or outcome in orderly, array.hex()


# Large ones.

MUCH = 100_000_000


def test_a_part_of_100_mb_has_the_right_key(connect):
    part = "0123456789" * (MUCH // 10)
    db, key, array = connect(), name_key(part), binary_array([part.encode()])
    both = send(db, "advisory_key($1) || ' ' || try_lock_keys($1, session => true)", array)
    assert both == f"{key} true".encode()
    assert held_keys(db, pid_of(db)) == [(key, "ExclusiveLock")]


def test_hashing_can_be_cancelled(connect):
    """In the middle of a statement: between two of them PL/pgSQL looks for a cancel itself."""
    db, observer = connect(), connect()
    begun = time.monotonic()
    db.execute(f"SELECT advisory_key(ARRAY[repeat('x', {MUCH})])")
    calls = ["advisory_key(key)"] * (2 + int(20 / (time.monotonic() - begun)))
    db.execute("DROP SEQUENCE IF EXISTS hashed; CREATE SEQUENCE hashed")
    hashing = threading.Event()
    db.add_notice_handler(lambda _: hashing.set())
    db.execute(f"""
        CREATE OR REPLACE FUNCTION hash_for_long() RETURNS void LANGUAGE plpgsql AS $$
        DECLARE key text[] := ARRAY[repeat('x', {MUCH})];
        BEGIN
            RAISE NOTICE 'hashing';
            PERFORM {", ".join(calls)}, nextval('hashed');
        END $$""")
    call = Background(db, "SELECT hash_for_long()")
    assert hashing.wait(20)
    time.sleep(0.1)
    observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(db)])
    with pytest.raises(psycopg.errors.QueryCanceled):
        call.result()
    assert db.execute("SELECT is_called FROM hashed").fetchone() == (False,), "it hashed to the end"


def test_a_million_parts_have_the_right_key(connect):
    parts = [str(i) for i in range(1_000_000)]
    array = binary_array([part.encode() for part in parts])
    assert send(connect(), "advisory_key($1)", array) == str(name_key(*parts)).encode()


@pytest.mark.parametrize("call", [call for call in CALLS if "lock_keys" in call and "unlock" not in call])
def test_a_million_keys_are_too_many(connect, call):
    db = connect()
    rows = binary_array([str(i).encode() for i in range(1_000_000)], dims=[1_000_000, 1])
    assert send(db, call, rows) == "54000"
    assert held_keys(db, pid_of(db)) == []


def test_a_million_keys_may_be_asked_about(connect):
    db = connect()
    rows = binary_array([str(i).encode() for i in range(1_000_000)], dims=[1_000_000, 1])
    assert send(db, "holds_keys($1)", rows) == b"f"
    assert send(db, "keys_available($1)", rows) == b"t"
