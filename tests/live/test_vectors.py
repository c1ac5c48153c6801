"""The golden vectors: the file is what its program writes, and the server computes the same keys."""

import json
import pathlib
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).parents[1]
GOLDEN = json.loads((TESTS / "vectors.json").read_text(encoding="ascii"))


def test_the_file_is_what_its_program_writes():
    subprocess.run([sys.executable, TESTS / "vectors.py", "--check"], check=True)


@pytest.mark.parametrize("binary", [False, True])
def test_the_server_computes_the_same_keys(connect, binary):
    db = connect()
    for vector in GOLDEN["vectors"]:
        key = db.execute("SELECT advisory_key(%s)", [vector["parts"]], binary=binary).fetchone()[0]
        assert str(key) == vector["key"], vector["parts"]
    for vector in GOLDEN["described"]:
        parts = [part["text"] * part["repeat"] for part in vector["parts"]]
        assert str(db.execute("SELECT advisory_key(%s)", [parts]).fetchone()[0]) == vector["key"]
