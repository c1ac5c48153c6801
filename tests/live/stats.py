"""What the tests of statistics share: what is counted for a first part that no other test has."""

import uuid

import pytest

COUNTS = ["locks", "refused", "waits", "timeouts", "deadlocks", "cancels"]


@pytest.fixture
def kind():
    """A first part that nobody has used."""
    return f"kind {uuid.uuid4().hex[:12]}"


def counts(db, kind):
    """What is counted for a first part, without zeros; None if nothing ever was."""
    cursor = db.execute(f"SELECT {', '.join(COUNTS)} FROM advisory_lock_stats WHERE first_part = %s", [kind])
    rows = cursor.fetchall()
    assert len(rows) < 2
    return {name: count for name, count in zip(COUNTS, rows[0]) if count} if rows else None


def locks(db, kind):
    """How many were granted."""
    return (counts(db, kind) or {}).get("locks", 0)
