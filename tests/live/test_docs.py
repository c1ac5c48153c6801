"""Every block of README.md and of the pages in docs/ is run as it stands there, in order, in a database for each page; or a marker above it says what
else runs it, or why nothing can (pages.py). Links lead somewhere, and README's map has every page."""

import re
import subprocess
from contextlib import ExitStack

import psycopg
import pytest

from pages import ALL_PAGES, ROOT, RUN_PAGES, read_page
from programs import environment
from scene import PORTABLE, install, install_portable, pid_of, scratch_database
from server import default_bindir
from transcript import Transcript, shows, statements, wait_until_gone

PAGES = {path: read_page(path) for path in ALL_PAGES}
RUN = {"sql", "sh", "python"}
"""Languages that can be run here."""


def name(path):
    return str(path.relative_to(ROOT))


def is_run(page, block):
    return not ({"not run", "run by"} & block.markers.keys() or "page run by" in page.markers)


@pytest.mark.parametrize("path", ALL_PAGES, ids=name)
def test_markers(path):
    page = PAGES[path]
    problems = list(page.problems)
    for runner in filter(None, re.split(r",\s*", page.markers.get("page run by", ""))):
        if (ROOT / runner).is_file() and path.name not in (ROOT / runner).read_text(encoding="utf-8"):
            problems.append(f"{runner} does not know the page")
    for marked, markers in [("the page", page.markers), *((f"line {block.line}", block.markers) for block in page.blocks)]:
        for runner in re.split(r",\s*", markers.get("page run by") or markers.get("run by") or "README.md"):
            file, _, test = runner.partition("::")
            if not (ROOT / file).is_file() or f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8") and test:
                problems.append(f"{marked}: there is no {runner}")
    if path in RUN_PAGES:
        problems += [
            f"line {block.line}: nothing runs {block.language or 'a block without a language'}, and nothing says why"
            for block in page.blocks if block.language not in RUN and is_run(page, block)]
    assert problems == []


@pytest.mark.parametrize("path", ALL_PAGES, ids=name)
def test_links(path):
    page, dead = PAGES[path], []
    for line, target in page.links:
        if re.match(r"https?://|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or anchor and anchor not in PAGES[there].anchors:
            dead.append(f"line {line}: {target}")
    assert dead == []


def test_the_map_has_every_page():
    mapped = [link for link in PAGES[ROOT / "README.md"].sections["Pages"] if link.endswith(".md")]
    assert sorted(mapped) == sorted([*(name(path) for path in RUN_PAGES[1:]), "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"])


@pytest.mark.parametrize("path", ALL_PAGES, ids=name)
def test_what_make_is_told_to_make_is_there(path):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for block in PAGES[path].blocks:
        if block.language == "sh":
            for words in re.findall(r"^(?:\w+=\S+ )*(?:sudo )?make\b([^#\n&]*)", block.text, re.MULTILINE):
                assert {word for word in words.split() if re.fullmatch(r"[a-z][a-z-]*", word)} <= targets, block


class Reader:
    """Goes through a page, with a database, the programs of this Postgres, and a connection for Python."""

    def __init__(self, stack, page):
        self._stack, self._page = stack, page
        self._names = {}
        empty = any(re.match("CREATE EXTENSION advisory_keys", statement) for block in page.blocks if block.language == "sql" and is_run(page, block)
                    for _, statement, _ in statements(block.text))
        self._begin(install=(lambda db: None) if empty else install)

    def _begin(self, install):
        """A new database, and sessions in it."""
        database = self._stack.enter_context(scratch_database("docs", install=install))
        self._db = self._stack.enter_context(psycopg.connect(dbname=database, autocommit=True))
        self._env = environment(self._db)
        self._names["connection"] = self._stack.enter_context(psycopg.connect(dbname=database, autocommit=True))
        self._psql = Transcript([f"{default_bindir()}/psql", "-Xq", "-P", "pager=off"], self._env, self._db)
        self._stack.callback(self._psql.close)

    def read(self, block):
        if "in a new database" in block.markers:
            self._psql.close()
            self._begin(install=lambda db: None)
        if "in a new session" in block.markers:
            self._psql.close()
        if "before" in block.markers:
            self._run(block.language, block.markers["before"])
        if "somebody" in block.markers:
            somebody = self._stack.enter_context(psycopg.connect(dbname=self._env["PGDATABASE"], autocommit=True))
            somebody.execute(block.markers["somebody"])
        self._run(block.language, block.text, block.output and block.output.text)
        if "somebody" in block.markers:
            pid = pid_of(somebody)
            somebody.close()
            wait_until_gone(self._db, pid)

    def _run(self, language, text, output=None):
        getattr(self, f"_run_{language}")(text, output)

    def _run_sql(self, text, output):
        if PORTABLE and re.match(r"CREATE EXTENSION advisory_keys;", text):
            install_portable(self._db)
            text = text.partition(";")[2]
        self._psql.run(text, output, may_fail=output is not None and "ERROR:" in output)

    def _run_sh(self, text, output):
        done = subprocess.run(
            ["sh", "-eu", "-c", text], cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert output is None or shows(output, done.stdout), f"printed was:\n{done.stdout}\nand not:\n{output}"

    def _run_python(self, text, output):
        assert output is None
        exec(text, self._names)


@pytest.mark.parametrize("path", RUN_PAGES, ids=name)
def test_every_block_runs(path):
    page = PAGES[path]
    if PORTABLE and "page native" in page.markers:
        pytest.skip(page.markers["page native"])
    blocks = [block for block in page.blocks if is_run(page, block) and not (PORTABLE and "native" in block.markers)]
    if not blocks:
        pytest.skip("run elsewhere")
    with ExitStack() as stack:
        reader = Reader(stack, page)
        for block in blocks:
            try:
                reader.read(block)
            except Exception as failure:
                raise AssertionError(f"{block}: {failure}") from failure
