"""docs/reference.md and the tables of columns against the catalog of the edition that is tested, and against the sources."""

import os
import pathlib
import re
import subprocess

import pytest

from scene import PORTABLE, native_only, scratch_database

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def database():
    """One without the functions of other tests, which in the portable edition look like ours."""
    with scratch_database("reference") as name:
        yield name


PAGE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
SECTIONS = {title: text for title, _, text in (section.partition("\n") for section in PAGE.split("\n## ")[1:])}


def rows(text):
    """The cells of the rows of its tables, without the heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = {number for number, line in enumerate(lines) if re.fullmatch(r"[|-]+", line)}
    return [cells for number, cells in enumerate(table) if not {number, number + 1} & rules]


def first_cells(text):
    return [cells[0] for cells in rows(text)]


FUNCTIONS = {
    name: (call, re.split(r",\s*", arguments) if arguments else [], result)
    for cells in rows(SECTIONS["Functions"])
    for call, name, arguments in re.findall(r"^`(CALL )?(\w+)\((.*)\)`$", cells[0])
    for result in [cells[1]]
}

PORTABLE_PAGE = (ROOT / "docs" / "portable.md").read_text(encoding="utf-8")
MISSING = {
    name for cells in rows(PORTABLE_PAGE) if PORTABLE and cells[2:3] == ["not there"] for name in re.findall(r"`(\w+)(?:\(\))?`", cells[0])}
"""What this edition does not have, as docs/portable.md says."""

OURS = """
    SELECT p.oid, proname, prokind, format_type(prorettype, NULL) FROM pg_proc AS p
    WHERE CASE WHEN %s THEN pronamespace = 'public'::regnamespace AND proname !~ '^_'
          ELSE EXISTS (SELECT FROM pg_depend JOIN pg_extension AS e ON refobjid = e.oid AND extname = 'advisory_keys'
                       WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e') END"""


def test_every_function_is_there_as_in_the_catalog(connect):
    db = connect()
    catalog = {name: (oid, kind, result) for oid, name, kind, result in db.execute(OURS, [PORTABLE])}
    # What is named outside of the table stands behind something else.
    assert {name for name in catalog if not re.search(rf"`(?:CALL )?{name}\(", PAGE)} == set()
    assert set(FUNCTIONS) - set(catalog) == set(FUNCTIONS) & MISSING
    for name in FUNCTIONS.keys() - MISSING:
        (call, arguments, result) = FUNCTIONS[name]
        oid, kind, returns = catalog[name]
        assert (kind == "p") == bool(call), name
        assert result.startswith("a procedure" if call else f"`{returns}`"), name
        there = db.execute("""
            SELECT argument, format_type(type, NULL), pg_get_function_arg_default(p.oid, n::int)
            FROM pg_proc AS p, unnest(proargnames, proargtypes::oid[]) WITH ORDINALITY AS a (argument, type, n) WHERE p.oid = %s ORDER BY n""", [oid])
        told = [re.fullmatch(r"(\w+) ([\w\[\]]+)(?: = (.+))?", argument).groups() for argument in arguments]
        for (argument, kind, default), (told_argument, told_kind, told_default) in zip(there, told, strict=True):
            assert (argument, kind, default is None) == (told_argument, told_kind, told_default is None), name
            if default is not None:
                same = f"SELECT ({default}) IS NOT DISTINCT FROM ({told_default})::{kind}"
                assert db.execute(same).fetchone() == (True,), (name, argument)


@native_only("there, Postgres does not know the settings")
def test_every_setting_is_there_with_its_default(connect):
    db = connect()
    db.execute("SELECT advisory_key('{a}')")
    settings = {name: (default, context) for name, default, context in db.execute(
        "SELECT name, boot_val, context FROM pg_settings WHERE name LIKE 'advisory\\_keys.%'")}
    table = {cells[0].strip("`"): cells[1:] for cells in rows(SECTIONS["Settings"])}
    assert {name: cells[0].strip("`") for name, cells in table.items()} == {name: default for name, (default, _) in settings.items()}
    everybody = re.search(r"Everybody may change `(\w+)`, the others only superusers", SECTIONS["Settings"])[1]
    assert {name for name, (_, context) in settings.items() if context == "user"} == {f"advisory_keys.{everybody}"}
    # Preloaded, they can be changed at the start only; else the file is read when the library is loaded.
    of_the_server = {name for name, (_, context) in settings.items() if context not in ("user", "superuser")}
    assert of_the_server == {name for name, cells in table.items() if "only in `postgresql.conf`, at the start of the server" in cells[1]}


def codes():
    """SQLSTATEs by the names that Postgres gives them, in C and in PL/pgSQL."""
    share = subprocess.run([os.environ["PG_CONFIG"], "--sharedir"], check=True, capture_output=True, text=True).stdout.strip()
    lines = re.findall(r"^(\w{5})\s+\w\s+(\w+)(?:\s+(\w+))?", (pathlib.Path(share) / "errcodes.txt").read_text(encoding="utf-8"), re.MULTILINE)
    # A few names stand for two; Postgres takes the first.
    return {name: state for state, *names in reversed(lines) for name in names if name}


NOT_OURS = {"22021", "22P05"}
"""Those that Postgres raises, and that the page names all the same."""
INSIDE = {"AK001"}
"""Raised and caught in the portable edition."""
INSTALLATION = {"42501", "3F000"}
"""Of sql/portable.sql when it is installed: docs/portable.md has the first one."""


def test_every_sqlstate_is_there():
    known = codes()
    native = "".join((ROOT / "src" / name).read_text(encoding="utf-8") for name in ("error.rs", "warning.rs"))
    raised = {known[name] for name in re.findall(r"\bERRCODE_\w+", native)}
    portable = re.findall(r"ERRCODE = '(\w+)'", (ROOT / "sql" / "portable.sql").read_text(encoding="utf-8"))
    raised |= {known.get(name, name) for name in portable} - INSTALLATION
    errors, warnings = (re.findall(r"\b\w{5}\b", " ".join(first_cells(SECTIONS[title]))) for title in ("Errors", "Warnings"))
    told = set(errors) | set(warnings)
    assert raised - told == INSIDE
    assert told - raised == NOT_OURS


@pytest.mark.parametrize("view, page", [
    ("advisory_locks", "who-holds-my-lock.md"), ("advisory_lock_stats", "monitoring.md")])
def test_every_column_is_there(connect, view, page):
    if view in MISSING:
        pytest.skip("not in this edition")
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    table = re.search(r"^\| column .*\n(?:\|.*\n)+", text, re.MULTILINE)[0]
    told = [name for cell in first_cells(table) for name in re.findall(r"`(\w+)`", cell)]
    there = [column.name for column in connect().execute(f"TABLE {view} LIMIT 0").description]
    assert told == there
