"""CALL acquire_keys as drivers send it: without types, in binary, prepared, in a pipeline."""

import pytest
from psycopg.pq import ExecStatus, Format

from acquiring import KEY, NAME, holder, tables, xmin_of
from scene import PORTABLE, Background, held_keys, pid_of, wait_until_waiting


def raw(connection, send):
    """A thing with `execute` and `info` that sends in a way of libpq's own, for Background."""
    class Sender:
        info = connection.info

        def execute(self, *_):
            result = send(connection.pgconn)
            assert result.status == ExecStatus.COMMAND_OK, result.error_message
            return self

        description = None

    return Sender()


def prepared(pgconn):
    assert pgconn.prepare(b"acquire", b"CALL acquire_keys($1, timeout => $2, session => $3)").status == ExecStatus.COMMAND_OK
    return pgconn.exec_prepared(b"acquire", [b"{acquire,1}", b"1h", b"true"])


BINARY = b"".join(
    [(1).to_bytes(4, "big"), (0).to_bytes(4, "big"), (25).to_bytes(4, "big"), (2).to_bytes(4, "big"), (1).to_bytes(4, "big")]
    + [len(part).to_bytes(4, "big") + part for part in (b"acquire", b"1")])

PROTOCOLS = {
    "untyped text": lambda pgconn: pgconn.exec_params(b"CALL acquire_keys($1, session => true)", [b"{acquire,1}"]),
    "untyped binary": lambda pgconn: pgconn.exec_params(
        b"CALL acquire_keys($1, session => true)", [BINARY], param_formats=[Format.BINARY]),
    "prepared": prepared,
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_parameters_need_no_type(connect, tables, holder, protocol):
    db = connect()
    call = Background(raw(db, PROTOCOLS[protocol]), None)
    wait_until_waiting(holder, pid_of(db))
    assert (xmin_of(holder, pid_of(db)) is None) is not PORTABLE
    holder.release()
    call.result()
    assert held_keys(holder, pid_of(db)) == [(KEY, "ExclusiveLock")]


def test_a_statement_that_psycopg_prepares(connect, tables, holder):
    db = connect()
    db.execute("BEGIN")
    for _ in range(8):
        db.execute("CALL acquire_keys(%s, shared => %s)", [["acquire", "2"], False], prepare=True)
    call = Background(db, "CALL acquire_keys(%s, shared => %s)", [NAME, False])
    wait_until_waiting(holder, pid_of(db))
    assert (xmin_of(holder, pid_of(db)) is None) is not PORTABLE
    holder.release()
    call.result()


def test_in_a_pipeline(connect, tables, holder):
    """The transaction goes on in the next message, without a block."""
    db = connect()

    class Pipeline:
        info, description = db.info, None

        def execute(self, *_):
            with db.pipeline():
                db.execute("SELECT count(*) FROM rows")
                db.execute("CALL acquire_keys(%s)", [NAME])
                self.held = db.execute("SELECT holds_keys(%s), count(*) FROM rows", [NAME])
            return self

    pipeline = Pipeline()
    call = Background(pipeline, None)
    wait_until_waiting(holder, pid_of(db))
    assert (xmin_of(holder, pid_of(db)) is None) is not PORTABLE
    holder.release()
    call.result()
    assert pipeline.held.fetchone() == (True, 10)
