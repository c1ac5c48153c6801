"""What docs/leases.md, docs/leader-election.md and docs/once-per-period.md show, taken from these pages: every block of them is run."""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import psycopg
import pytest

from leases import install_leases
from programs import environment
from scene import PORTABLE, scratch_database, wait_until

ROOT = pathlib.Path(__file__).parents[2]
TOKEN = "17594012886044416"
"""The one of the pages."""


def blocks(page):
    """The (language, text) of each block."""
    return re.findall(r"^```(\w+)\n(.+?)^```", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def block_with(page, text):
    """The one block that has it."""
    (block,) = [block for _, block in blocks(page) if text in block]
    return block


def statements(page, text, token=TOKEN):
    """The statements of a block of SQL, under this token instead of that of the page."""
    block = re.sub(r"--.*", "", block_with(page, text)).replace(TOKEN, str(token))
    return [statement.strip() for statement in block.split(";") if statement.strip()]


def test_the_pages_have_the_blocks_that_are_run_here():
    count = {page: len(blocks(page)) for page in ("leases", "leader-election", "once-per-period")}
    assert count == {"leases": 7, "leader-election": 4, "once-per-period": 8}


@pytest.fixture
def session(connect):
    """A factory of sessions, in a database of their own that has the leases."""
    with scratch_database("leases", install=install_leases) as name:
        yield lambda **options: connect(dbname=name, **options)


def one(db, query, *arguments):
    return db.execute(query, arguments).fetchone()[0]


def later(db, interval):
    """As if so much time had passed for all leases."""
    db.execute("UPDATE advisory_leases.lease SET taken_at = taken_at - %(i)s::interval, expires_at = expires_at - %(i)s::interval", {"i": interval})


# Leases.

def test_install(connect):
    with scratch_database("leases", install=lambda db: None) as name:
        db = connect(dbname=name)
        if PORTABLE:
            subprocess.run(["sh", "-c", block_with("leases", "psql -X")], cwd=ROOT, env=environment(db), check=True, stdout=subprocess.DEVNULL)
        else:
            db.execute(block_with("leases", "CREATE EXTENSION"))
        assert one(db, "SELECT count(*) FROM advisory_leases.leases") == 0


def test_a_lease_from_the_first_call_to_the_last(session):
    db, other = session(), session()
    take, *_ = statements("leases", "holder => ")
    token = one(db, take)
    _, renew, holds, release = statements("leases", "holder => ", token)
    assert one(other, take) is None and one(db, take) is None
    assert [one(other, statement) for statement in (renew, holds, release)] == [True, True, True]
    assert [one(db, statement) for statement in (renew, holds, release)] == [False, False, False]
    assert one(other, take) > token


def test_until_the_end_of_the_transaction_nobody_takes_over(session):
    db, other = session(), session()
    db.execute("CREATE TABLE import AS SELECT 0 AS position")
    take, *_ = statements("leases", "holder => ")
    token = one(db, take)
    begin, fence, write, commit = statements("leases", "BEGIN", token)
    *_, release = statements("leases", "holder => ", token)
    db.execute(begin)
    db.execute(fence)
    assert one(other, release) is True and one(other, take) is None
    db.execute(write)
    db.execute(commit)
    newer = one(other, take)
    assert newer > token and one(db, "SELECT position FROM import") == 42
    db.execute(begin)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        db.execute(fence)
    db.execute("ROLLBACK")
    assert statements("leader-election", "BEGIN", token) == [begin, fence, write, commit]


def test_a_table_as_the_other_system(session):
    db = session()
    db.execute("CREATE TABLE setting AS SELECT 'rate' AS name, 'old' AS value, 7::bigint AS token")
    for token, written in ((7, 1), (9, 1), (8, 0)):
        (write,) = statements("leases", "UPDATE setting", token)
        assert db.execute(write).rowcount == written


def test_maintenance(session):
    db = session()
    take, *_ = statements("leases", "holder => ")
    limit, clean_up = statements("leases", "INSERT INTO advisory_leases.limits"), statements("leases", "DELETE FROM")
    one(db, take)
    assert db.execute(clean_up[0]).rowcount == 0
    later(db, "2 hours")
    assert one(db, "SELECT expired FROM advisory_leases.leases") is True
    assert db.execute(clean_up[0]).rowcount == 1
    db.execute(limit[0])
    for ttl, allowed in (("1 hour", True), ("61 min", False)):
        if allowed:
            assert one(db, take.replace("15 s", ttl))
        else:
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                db.execute(take.replace("15 s", ttl))


def test_what_the_page_says_of_errors(session):
    db, other = session(), session()
    take, *_ = statements("leases", "holder => ")
    _, renew, holds, release = statements("leases", "holder => ", one(db, take))
    fence = statements("leases", "BEGIN", TOKEN)[1]

    def sqlstate(statement):
        with pytest.raises(psycopg.Error) as error:
            db.execute(statement)
        return error.value.sqlstate

    for broken, state in (
        (take.replace("ARRAY['leader', 'importer']", "NULL"), "22004"), (take.replace("'importer'", "NULL"), "22004"),
        (take.replace("'15 s'", "NULL"), "22004"), (re.sub(r"\d{9,}", "NULL", renew), "22004"), (re.sub(r"\d{9,}", "NULL", holds), "22004"),
        (take.replace("ARRAY['leader', 'importer']", "'{}'"), "22023"), (take.replace("15 s", "0 s"), "22023"), (take.replace("15 s", "32 days"), "22023"),
        (take.replace("ARRAY[", "ARRAY[[").replace("],", "]],"), "2202E"), (take.replace("'host-7 4711'", "repeat('x', 201)"), "22001"), (fence, "55000"),
    ):
        assert sqlstate(broken) == state, broken
    db.execute("SET default_transaction_read_only = on")
    assert sqlstate(take) == sqlstate(renew) == sqlstate(release) == "25006"
    assert one(db, holds) is True
    db.execute("SET default_transaction_read_only = off")
    other.execute("BEGIN")
    other.execute(renew)
    assert sqlstate(renew) == sqlstate(release) == "55P03"
    other.execute("COMMIT")


# Leader election.

def test_who_uses_it(session, monkeypatch):
    """The loop of the page, with the class of the example."""
    class Done(Exception):
        pass

    def work(url, token, patience):
        raise Done(token)

    db = session()
    for name, value in environment(db).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples"))
    from leader import Lease

    loop = block_with("leader-election", "with Lease(").replace("time.sleep(1)", "time.sleep(0.01)")
    with pytest.raises(Done) as done:
        exec(loop, {"Lease": Lease, "time": time, "work": work, "url": None})
    assert db.execute("SELECT token, name, expired FROM advisory_leases.leases").fetchone() == (done.value.args[0], "leader-importer", True)


def test_try_it(session):
    db, port = session(), free_port()
    url = f"http://127.0.0.1:{port}/"
    block = block_with("leader-election", "fenced.py 8000").replace("8000", str(port)).replace("python3", f"{shlex.quote(sys.executable)} -B")

    def value():
        with contextlib.suppress(OSError), urllib.request.urlopen(url) as answer:
            return answer.read().decode()
        return ""

    run = subprocess.Popen(
        ["sh", "-c", f"{block}wait"], cwd=ROOT, env=environment(db), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    try:
        first = int(re.fullmatch(r"leads (\d+)\n", run.stdout.readline())[1])
        wait_until(value, "the leader works")
        os.kill(int(value().split()[-1]), signal.SIGKILL)
        begun = time.monotonic()
        assert int(re.fullmatch(r"leads (\d+)\n", run.stdout.readline())[1]) > first
        assert time.monotonic() - begun < 8 + 3
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_grant_is_found_by_its_holder(session):
    db = session()
    (look,) = statements("leader-election", "WHERE holder = ")
    holder = re.search(r"holder = '(.+)'", look)[1]
    assert db.execute(look).fetchone() is None
    assert one(db, "SELECT advisory_leases.try_lease_key('{a}', '1 min', %s)", holder) == one(db, look)


# Once per period.

class Hosts:
    """Many hosts that all have the crontab of the page; what it runs there, notes it in a file."""

    def __init__(self, db, folder):
        self.db, self._folder, self._done = db, folder, folder / "done"
        self._done.touch()
        self.command("once", block_with("once-per-period", "#!/bin/sh"))
        for job in ("nightly-report", "nightly-backup"):
            self.command(job, f'#!/bin/sh\necho "{job} $*" >>done')
        self._environment = environment(db)
        self._environment["PATH"] = f"{folder}:{self._environment['PATH']}"

    def command(self, name, text):
        (self._folder / name).write_text(text, encoding="utf-8")
        (self._folder / name).chmod(0o755)

    def start(self, line):
        return subprocess.Popen(["sh", "-c", line], cwd=self._folder, env=self._environment, stderr=subprocess.PIPE, text=True)

    def all_run(self, line, hosts=8):
        """So many crons at the same moment; what was done."""
        before = len(self._done.read_text().splitlines())
        crons = [self.start(line) for _ in range(hosts)]
        self.complaints = [cron.communicate(timeout=60)[1] for cron in crons]
        return self._done.read_text().splitlines()[before:]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck")
def test_the_script_has_no_flaw_that_shellcheck_knows():
    subprocess.run(["shellcheck", "-"], input=block_with("once-per-period", "#!/bin/sh"), text=True, check=True)


@pytest.fixture
def hosts(session, tmp_path):
    return Hosts(session(), tmp_path)


def crontab(text):
    """The commands of a block, without when they are run."""
    return [re.sub(r"^\S+ \S+ \S+ \S+ \S+ +", "", line) for line in block_with("once-per-period", text).splitlines()]


def the_first_line():
    return crontab("0 3 * * *  [")[0]


@pytest.mark.parametrize("line, done", [
    (the_first_line(), "nightly-report "),
    (crontab("once nightly-report")[0], "nightly-report "),
    (crontab("once nightly-report")[1], "nightly-backup --compress"),
])
def test_one_of_many_hosts_does_it_each_night(hosts, line, done):
    for _ in range(3):
        assert hosts.all_run(line) == [done]
        assert set(hosts.complaints) == {""}
        later(hosts.db, "19 hours")  # a host that comes late
        assert hosts.all_run(line) == []
        later(hosts.db, "5 hours")


def test_a_ttl_as_long_as_the_period_skips_one(hosts):
    line = the_first_line().replace("20 hours", "24 hours")
    assert hosts.all_run(line, hosts=1) == ["nightly-report "]
    later(hosts.db, "23 hours 59 minutes 59 seconds")
    assert hosts.all_run(line, hosts=1) == []


def test_nothing_is_run_without_a_server(hosts):
    for line in (the_first_line(), *crontab("once nightly-report")):
        assert hosts.all_run(f"export PGPORT=1; {line}", hosts=1) == []
        assert "PGSQL.1" in hosts.complaints[0]


def test_who_did_it_last(hosts):
    for line in crontab("once nightly-report"):
        hosts.all_run(line)
    (query,) = statements("once-per-period", "ORDER BY taken_at")
    rows = hosts.db.execute(query).fetchall()
    assert [(name, holder) for name, holder, _ in rows] == [(f"once-{job}", os.uname().nodename) for job in ("nightly-report", "nightly-backup")]


def test_a_command_that_fails(hosts, tmp_path):
    report, backup = crontab("once nightly-report")
    for job in ("nightly-report", "nightly-backup"):
        hosts.command(job, f"#!/bin/sh\necho {job} >>tried; exit 7")
    for line, tries in ((report, 1), (backup, 3)):
        codes = [hosts.start(line).wait(60) for _ in range(3)]
        assert codes == [7] * tries + [0] * (3 - tries)
    assert (tmp_path / "tried").read_text().split() == ["nightly-report"] + ["nightly-backup"] * 3


def test_at_least_once(hosts):
    """The job that has died without a word is done by the next one after the ttl; the one that is done, never again."""
    (line,) = crontab("FROM report")
    hosts.db.execute(block_with("once-per-period", "CREATE TABLE report"))
    done, fence = block_with("once-per-period", "INSERT INTO report"), "SELECT advisory_leases.fence_lease_key(ARRAY['once', 'nightly-report'], $LEASE_TOKEN)"
    hosts.command("nightly-report", "#!/bin/sh\necho began >>done")
    assert hosts.all_run(line) == ["began"]
    assert hosts.all_run(line) == []
    later(hosts.db, "2 hours")
    hosts.command("nightly-report", f'#!/bin/sh\necho did >>done; psql -Xq1 -o /dev/null -c "{fence}" -c "{done}"')
    assert hosts.all_run(line) == ["did"]
    for _ in range(2):
        later(hosts.db, "2 hours")
        assert hosts.all_run(line) == []


def test_once_for_each_date(session):
    db, other = session(), session()
    other.execute("SET timezone = 'Pacific/Kiritimati'")
    (take,) = statements("once-per-period", "::date::text")
    token = one(db, take)
    assert token and one(other, take) is None
    assert one(other, take.replace("now()", "(now() + interval '1 day')"))
