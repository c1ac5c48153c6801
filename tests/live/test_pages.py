"""What makes the tests of the documentation fail: test_docs.py relies on it."""

import pytest

from pages import read_page
from transcript import shows, statements


@pytest.fixture
def page(tmp_path):
    def write(text):
        path = tmp_path / "page.md"
        path.write_text(text, encoding="utf-8")
        return read_page(path)

    return write


@pytest.mark.parametrize("text, problem", [
    ("<!-- not run: it burns -->\n\nwords\n\n```sql\nSELECT;\n```\n", "belongs to no block"),
    ("words\n<!-- not run: it burns -->\n", "belongs to no block"),
    ("<!-- not run -->\n```sql\nSELECT;\n```\n", "no such marker"),
    ("<!-- not run: -->\n```sql\nSELECT;\n```\n", "no such marker"),
    ("<!-- not now: it burns -->\n```sql\nSELECT;\n```\n", "no such marker"),
    ("```sql\nSELECT;\n```\n<!-- page run by: README.md -->\n", "belongs to no block"),
])
def test_a_marker_in_vain(page, text, problem):
    (found,) = page(text).problems
    assert problem in found


def test_markers_and_output(page):
    read = page("<!-- before: CREATE TABLE t ();\nSELECT; -->\n<!-- in a new database -->\n```sql\nTABLE t;\n```\n\n```text\n(0 rows)\n```\n\nwords\n\n```text\nx\n```\n")
    assert read.problems == []
    first, second = read.blocks
    assert first.markers == {"before": "CREATE TABLE t ();\nSELECT;", "in a new database": ""} and first.output.text == "(0 rows)\n"
    assert second.language == "text"


def test_anchors_are_githubs(page):
    assert page("# What's `lock_keys` – really?\n## A-b c\n## A-b c\n").anchors == {"whats-lock_keys--really", "a-b-c", "a-b-c-1"}


def test_who_says_what():
    text = """-- in one session
BEGIN;
SELECT 'a;b', $$;$$;   -- true: it's; ours

-- meanwhile, in another session: whatever
SELECT 1  -- inside
  + 1;  -- 2
-- in the first session
COMMIT;"""
    assert statements(text) == [
        ("1", "BEGIN;", ""), ("1", "SELECT 'a;b', $$;$$;", "true: it's; ours"), ("2", "SELECT 1  -- inside\n  + 1;", "2"), ("1", "COMMIT;", "")]


@pytest.mark.parametrize("shown, printed, same", [
    (" a |  b\n---+---\n 1 | 2\n", "NOTICE: x\n  a  | b \n----+---\n 1  | 2\n\n", True),
    ("pid 4711 waits for 4712, 4711", "pid 99 waits for 7, 99", True),
    ("pid 4711 waits for 4712, 4711", "pid 99 waits for 7, 98", False),
    ("pid 4811", "pid 4812", False),
    ("since 2026-11-26 12:00:00+00, for 00:00:01.5", "since 2027-01-02 03:04:05.678+02, for 00:01:02", True),
    ("ERROR:  could not … in time", "ERROR:  could not lock in time", True),
    ("a\nc", "a\nb\nc", False),
    ("a.c", "abc", False),
])
def test_what_is_shown(shown, printed, same):
    assert shows(shown, printed) is same
