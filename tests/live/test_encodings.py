"""A name has one key whatever the encoding of the database, and is shown right in every one."""

from contextlib import ExitStack

import psycopg
import pytest
from psycopg.pq import DiagnosticField, ExecStatus

from scene import (
    PORTABLE, Background, held_keys, name_key, native_only, own_context, pid_of, scratch_database, wait_until_waiting,
)

ENCODINGS = ["UTF8", "LATIN1", "EUC_JP", "SQL_ASCII"]

LATIN = ["ä", "Müller", "ÿ", "\u00a0x"]
JAPANESE = ["日本", "東京", "ｱ", "丂"]
"""In EUC_JP these are characters of two and of three bytes."""

TEXTS = {
    "UTF8": [*LATIN, *JAPANESE, "🔒", "e\u0301", "\ufffd", "\U0010ffff"],
    "LATIN1": LATIN,
    "EUC_JP": JAPANESE,
    "SQL_ASCII": [*LATIN, *JAPANESE, "🔒"],
}

every_encoding = pytest.mark.parametrize("encoding", ENCODINGS)


@pytest.fixture(scope="module")
def databases():
    """One database with the extension for each encoding."""
    options = "TEMPLATE template0 ENCODING '{}' LOCALE_PROVIDER libc LOCALE 'C'"
    with ExitStack() as stack:
        yield {
            encoding: stack.enter_context(scratch_database(encoding.lower(), options.format(encoding)))
            for encoding in ENCODINGS
        }


@pytest.fixture
def connect_to(connect, databases):
    """Connections to the database of an encoding, whose client speaks UTF-8."""
    return lambda encoding, client="UTF8": connect(dbname=databases[encoding], client_encoding=client)


def names_for(encoding):
    """Names made of text that the encoding has: short, long, at the edges of what is hashed at once."""
    texts = TEXTS[encoding]
    return [
        *([text] for text in texts),
        *(["order", text] for text in texts),
        texts,
        ["", texts[0], ""],
        ["x" * 50, texts[0] * 3],
        [texts[0] * 500],
        [texts[0] * 700_000, "x" * (1 << 20)],
        ["plain", "ASCII"],
    ]


@every_encoding
def test_the_key_is_that_of_the_name_in_utf8(connect_to, encoding):
    db = connect_to(encoding)
    for name in names_for(encoding):
        assert db.execute("SELECT advisory_key(%s)", [name]).fetchone() == (name_key(*name),)


@every_encoding
def test_the_lock_is_on_that_key(connect_to, encoding):
    db = connect_to(encoding)
    names = [["lock", text] for text in TEXTS[encoding]]
    keys = sorted((name_key(*name), "ExclusiveLock") for name in names)
    assert db.execute("SELECT try_lock_keys(%s, session => true)", [names]).fetchone() == (True,)
    assert held_keys(db, pid_of(db)) == keys
    assert db.execute("SELECT holds_keys(%s), unlock_keys(%s)", [names, names]).fetchone() == (True, True)
    assert held_keys(db, pid_of(db)) == []


@pytest.mark.parametrize(
    "encoding, client", [("UTF8", "LATIN1"), ("UTF8", "LATIN9"), ("UTF8", "WIN1252"), ("LATIN1", "LATIN1")]
)
def test_the_encoding_of_the_client_does_not_matter(connect_to, encoding, client):
    db = connect_to(encoding, client)
    assert db.execute("SELECT advisory_key(%s)", [["Müller"]]).fetchone() == (name_key("Müller"),)


def sqlstate(db, statement, *parameters):
    """The SQLSTATE of a statement with parameters that are bytes as they are."""
    result = db.pgconn.exec_params(statement.encode(), list(parameters))
    assert result.status == ExecStatus.FATAL_ERROR
    return result.error_field(DiagnosticField.SQLSTATE).decode()


CALLS = [
    "advisory_key(ARRAY['order', $1::text])",
    "try_lock_keys(ARRAY[['order', 'x'], ['order', $1::text]], session => true)",
    "lock_keys(ARRAY[['order', 'x'], ['order', $1::text]], session => true)",
    "unlock_keys(ARRAY['order', $1::text])",
    "holds_keys(ARRAY['order', $1::text])",
    "keys_available(ARRAY['order', $1::text])",
]


@pytest.mark.parametrize("call", CALLS)
def test_bytes_that_are_no_utf8_are_an_error_in_sql_ascii(connect_to, call):
    db = connect_to("SQL_ASCII", "SQL_ASCII")
    invalid = {
        "LATIN1": b"M\xfcller", "a lone continuation": b"\x80",
        "cut off": b"x\xe6\x97",
        "overlong": b"\xc0\xaf", "a surrogate": b"\xed\xa0\x80", "beyond Unicode": b"\xf4\x90\x80\x80",
        "far into a long text": b"x" * 3_000_000 + b"\xff",
    }
    for what, text in invalid.items():
        assert sqlstate(db, f"SELECT {call}", text) == "22021", what
    assert held_keys(db, pid_of(db)) == []


@pytest.mark.parametrize("call", CALLS)
def test_a_character_that_utf8_has_not_is_an_error(connect_to, call):
    """0xA9A1 is well-formed in EUC_JP, but nothing is assigned there."""
    db = connect_to("EUC_JP", "EUC_JP")
    assert sqlstate(db, f"SELECT {call}", b"\xa9\xa1") in ("22021", "22P05")
    assert held_keys(db, pid_of(db)) == []


SHOWN = {
    "UTF8": "Müller 日本 🔒",
    "LATIN1": "Müller ÿ",
    "EUC_JP": "日本 丂",
    "SQL_ASCII": "Müller 日本 🔒",
}


@every_encoding
def test_names_are_shown_right_in_errors_and_warnings(connect_to, encoding):
    name = ["shown", SHOWN[encoding]]
    shown = f'"shown-{SHOWN[encoding]}" ({name_key(*name)})'
    holder, waiter = connect_to(encoding), connect_to(encoding)
    warnings = []
    holder.add_notice_handler(lambda warning: warnings.append(warning.message_detail))

    holder.execute("SELECT unlock_keys(%s)", [name])
    assert [detail for detail in warnings if detail] == [f"Key {shown} is not held."]
    holder.execute("SELECT lock_keys(%s, session => true)", [name])
    with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
        waiter.execute("SELECT lock_keys(%s, timeout => '0')", [name])
    assert refused.value.diag.message_detail == f"Key {shown} is held by process {pid_of(holder)}."
    if PORTABLE:
        return  # there is no context line
    call = Background(waiter, "SELECT lock_keys(%s)", [name])
    wait_until_waiting(holder, pid_of(waiter))
    holder.execute("SELECT pg_cancel_backend(%s)", [pid_of(waiter)])
    with pytest.raises(psycopg.errors.QueryCanceled) as cancelled:
        call.result()
    assert own_context(cancelled.value.diag.context).splitlines()[0] == f"while locking advisory key {shown}"


@every_encoding
@pytest.mark.parametrize("before_the_cut", range(4))
def test_a_long_name_is_cut_between_characters(connect_to, encoding, before_the_cut):
    """Whatever the place of the cut: else the client would get an error about invalid text instead."""
    text = "x" * before_the_cut + TEXTS[encoding][0] * 250
    holder, waiter = connect_to(encoding), connect_to(encoding)
    holder.execute("SELECT lock_keys(%s, session => true)", [[text]])
    with pytest.raises(psycopg.Error) as refused:
        waiter.execute("SELECT lock_keys(%s, timeout => '0')", [[text]])
    assert refused.value.sqlstate == "55P03"
    shown = refused.value.diag.message_detail.split('"')[1]
    assert shown.endswith("...") and text.startswith(shown[:-3])
    assert len(shown) > 50


@native_only("PL/pgSQL cannot tell whether a text can be converted without an error")
def test_a_name_that_the_client_cannot_show_is_left_out(connect_to):
    """With it in a message, the client would get 22P05 in the place of the error, and a WARNING
    would be an error."""
    name = ["shown", "日本"]
    key = name_key(*name)
    holder, waiter = connect_to("UTF8"), connect_to("UTF8", "LATIN1")
    execute = lambda statement: waiter.execute(statement.encode().replace(b"?", b"E'\\u65e5\\u672c'"))
    details = []
    waiter.add_notice_handler(lambda warning: details.append(warning.message_detail))

    unlocked = execute("SELECT unlock_keys(ARRAY['shown', ?])")
    assert unlocked.fetchone() == (False,)
    assert details == [f"Key {key} is not held."]

    holder.execute("SELECT lock_keys(%s, session => true)", [name])
    with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
        execute("SELECT lock_keys(ARRAY['shown', ?], timeout => '0')")
    assert refused.value.diag.message_detail == f"Key {key} is held by process {pid_of(holder)}."

    waiter.execute("SET deadlock_timeout = '10ms'")
    waiter.execute("SET log_lock_waits = on")
    waiter.execute("SET client_min_messages = log")
    waited = execute("SELECT try_lock_keys(ARRAY['shown', ?], timeout => '100ms')")
    assert waited.fetchone() == (False,)

    waiter.execute("SET statement_timeout = '50ms'")
    with pytest.raises(psycopg.errors.QueryCanceled) as cancelled:
        execute("SELECT lock_keys(ARRAY['shown', ?])")
    assert own_context(cancelled.value.diag.context).splitlines()[0] == f"while locking advisory key {key}"
