"""What the tests of recorded names share: what the view shows of them."""

from scene import name_key


def names_of(db, name):
    """What the view shows as the name of a key: one entry for each row."""
    rows = db.execute("SELECT name FROM advisory_locks WHERE key = %s ORDER BY granted DESC", [name_key(*name)])
    return [row[0] for row in rows]
