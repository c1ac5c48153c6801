"""Whatever the arguments, what comes back is an answer or an error of the contract: never XX000, never
a lost connection. The arguments are random, from seeds, so a failure can be repeated."""

import random

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from scene import answer, held_keys, pid_of, statement_of

FUNCTIONS = {
    "advisory_key": [],
    "try_lock_keys": ["timeout", "shared", "session"],
    "lock_keys": ["timeout", "shared", "session"],
    "acquire_keys": ["timeout", "shared", "session"],
    "claim_keys": ["wanted", "shared", "session"],
    "unlock_keys": ["shared"],
    "release_keys": ["shared"],
    "holds_keys": ["shared"],
    "keys_available": ["shared"],
}

ARGUMENTS = {
    "22004",  # NULL
    "22023",  # an empty array, a negative timeout, nothing wanted
    "2202E",  # the number of dimensions
}
LOCKING = {
    "54000",  # too many keys in one call
    "55000",  # session-level locks are switched off
}
STATEMENT_TIMEOUT = "57014"
CONTRACT = {
    "advisory_key": ARGUMENTS,
    "try_lock_keys": ARGUMENTS | LOCKING,
    "lock_keys": ARGUMENTS | LOCKING | {"55P03"},
    "acquire_keys": ARGUMENTS | LOCKING | {"55P03"},
    "claim_keys": ARGUMENTS | LOCKING,
    "unlock_keys": ARGUMENTS,
    "release_keys": ARGUMENTS,
    "holds_keys": ARGUMENTS,
    "keys_available": ARGUMENTS,
}

PARTS = [
    "a", "b", "c", "", " ", "-", "a-b", "NULL", "{}", '"', "\\", "'", ",", "\n", "\x01", "ä", "e\u0301", "日本",
    "🔒", "\ufffd", "\uffff", "x" * 63, "x" * 64, "y" * 300, "ä" * 3000,
]
TIMEOUTS = [
    None, "0", "0.4 ms", "1 microsecond", "1 ms", "3ms", "-1 ms", "-1 microsecond", "1 day -24:00:01",
    "1 month -30 days", "-178000000 years", "178000000 years", "1000 months", "24.9 days", "-0.001 ms",
]


def random_array(rng):
    def part():
        return None if rng.random() < 0.03 else rng.choice(PARTS)

    def nested(dims):
        return part() if not dims else [nested(dims[1:]) for _ in range(dims[0])]

    if rng.random() < 0.1:
        return rng.choice([None, []])
    dimensions = rng.choice([1, 1, 1, 2, 2, 2, 3, 6])
    return nested([rng.choice([1, 1, 2, 2, 8] if dimensions < 3 else [1, 2]) for _ in range(dimensions)])


def random_argument(rng, name):
    if name == "timeout":
        return rng.choice(TIMEOUTS)
    if name == "wanted":
        return rng.choice([1, 1, 2, 3, 1000, 1001, 2**31 - 1, 0, -1, None])
    return rng.choice([True] * 3 + [False] * 6 + [None])


def random_call(rng, function):
    names = [name for name in FUNCTIONS[function] if rng.random() < 0.6]
    statement = statement_of(function, "%s" + "".join(f", {name} => %s" for name in names))
    return statement, [random_array(rng), *(random_argument(rng, name) for name in names)]


# Every wait ends soon.
LIMITS = "-c lock_timeout=3ms -c statement_timeout=50ms"

SETTINGS = {
    "the defaults": "",
    "few keys": "-c advisory_keys.max_keys_per_call=1",
    "no session-level locks": "-c advisory_keys.session_locks=off",
    "warnings and no names": "-c advisory_keys.session_locks=warn -c advisory_keys.show_keys=off",
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_random_arguments_give_an_answer_or_an_error_of_the_contract(connect, function, settings):
    rng = random.Random(f"{function} {settings}")
    session, other, observer = connect(options=f"{LIMITS} {SETTINGS[settings]}"), connect(), connect()
    for names in ([[part] for part in PARTS[:8]], [[a, b] for a in PARTS[:8] for b in PARTS[8:]]):
        other.execute("SELECT lock_keys(%s, session => true, shared => %s)", [names, settings == "few keys"])
    seen = set()
    for _ in range(300):
        statement, parameters = random_call(rng, function)
        before = held_keys(observer, pid_of(session))
        session.execute("BEGIN")
        try:
            outcome = answer(session.execute(statement, parameters))
        except psycopg.Error as error:
            outcome = error.sqlstate
            assert outcome in CONTRACT[function] | {STATEMENT_TIMEOUT}, (statement, parameters, error)
            seen.add(outcome)
        # Before the transaction ends: a call takes something only if it succeeds.
        if isinstance(outcome, list):  # the rows that were claimed
            assert len(held_keys(observer, pid_of(session))) == len(before) + len(outcome), (statement, parameters, outcome)
        elif outcome not in (True, "") and function not in ("unlock_keys", "release_keys"):
            assert held_keys(observer, pid_of(session)) == before, (statement, parameters, outcome)
        session.execute("ROLLBACK")
    assert seen >= ARGUMENTS


TEXTS = [
    "{a,b}", "{a,NULL}", "{{a},{b}}", "{}", "{{},{}}", "[0:1]={a,b}", "[2:1]={a,b}", "[1:2][1:1]={{a},{b}}",
    '{"a"}', "{a", "a", "{{a},b}", "{{a},{b,c}}", "[1:99999999999]={a}", "[2147483647:2147483647]={a}",
    "[-2147483648:2147483647]={a}", "", "NULL", "infinity", "-infinity", "1", "0", "t", "off", "1e400 days",
    "9223372036854775807 years", "2147483647 months", "1 fortnight", "P1Y", "-1:00", "\\", "\x7f", "ä",
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_text_that_means_nothing_is_refused_as_any_other(connect, function):
    """Untyped parameters in text form: what is no array, interval or boolean, Postgres itself refuses
    with an error of class 22 (data exception), or 54000 for an array that is too large."""
    rng = random.Random(function)
    session, other = connect(options=LIMITS), connect()
    other.execute("SELECT lock_keys('{a,b}', session => true)")
    for _ in range(400):
        names = [name for name in FUNCTIONS[function] if rng.random() < 0.6]
        statement = statement_of(function, "%s" + "".join(f", {name} => %s" for name in names))
        texts = [rng.choice(TEXTS) for _ in range(len(names) + 1)]
        try:
            session.execute(statement, texts)
        except psycopg.Error as error:
            state = error.sqlstate or ""
            expected = state.startswith("22") or state in CONTRACT[function] | {STATEMENT_TIMEOUT, "54000"}
            assert expected, (statement, texts, error)
        assert session.info.transaction_status == TransactionStatus.IDLE
