#!/usr/bin/env python3
"""Writes tests/vectors.json: names and their keys, computed by this program alone, without Postgres.

The file is the contract that every edition and every client is tested against, in any language:

- `vectors`: `parts` (the name), `utf8` (the bytes that are hashed, in hexadecimal) and `key` (a decimal
  string: in some languages a number of JSON does not hold 64 bits);
- `described`: the same for a name too long to store, whose parts are each a `text` and how often to
  `repeat` it, without `utf8`.

No part has a NUL character, which text in Postgres cannot hold. `tests/vectors.py --check` compares.
"""

import hashlib
import json
import pathlib
import sys

FILE = pathlib.Path(__file__).with_name("vectors.json")

NAMES = [
    # The ones that documentation uses.
    ["SIGNUP-EMAIL", "a@b.c"], ["order", "42"], ["SIGNUP-EMAIL", "bob@example.com"],
    # Empty parts, and one part or many.
    [""], ["", ""], ["", "", ""], ["a"], ["a", ""], ["", "a"], ["a", "", "b"], ["a", "b", "c", "d", "e", "f", "g", "h"],
    [str(i) for i in range(100)],
    # The join is ambiguous: each group is one key.
    ["a-b", "c"], ["a", "b-c"], ["a-b-c"], ["a", "b", "c"],
    ["-"], ["--"], ["-", ""], ["", "-"],
    # Case, blanks and control characters count.
    ["A"], [" a"], ["a "], [" "], ["\t"], ["a\nb"], ["\r\n"], ["\x01"], ["\x7f"], ["\x1f", "x"],
    # What arrays, SQL and shells give a meaning to.
    ["{a,b}"], ["{"], ["}"], [","], ["a,b", "c"], ['"'], ['say "hi"'], ["it's"], ["''"], ["\\"], ["\\\\"], ["a\\nb"],
    ["NULL"], ["null"], ["$1"], ["%s"], ["?"], [":name"], ["a/b"], ["a:b"], ["a;b"], ["; DROP TABLE x; --"], ["`"], ["${x}"],
    # Beyond ASCII: two, three and four bytes; composed and decomposed are two names.
    ["é"], ["e\u0301"], ["Å"], ["A\u030a"], ["\u212b"], ["ß"], ["SS"], ["ﬁ"], ["Müller"], ["naïve café"],
    ["日本"], ["東京", "大阪"], ["한국"], ["각"], ["\u1100\u1161\u11a8"], ["🔒"], ["👩‍👩‍👧"], ["👍🏽"], ["🇩🇪"], ["𝒳"],
    ["שלום"], ["سلام"], ["\u202eabc"], ["\u200b"], ["\ufeff"], ["\u00a0"], ["\ufffd"], ["\uffff"], ["\U0010ffff"], ["\ud7ff", "\ue000"],
    # Round the edges of SHA-256's blocks, in bytes of the joined name.
    *(["x" * n] for n in (54, 55, 56, 57, 63, 64, 65, 118, 119, 120, 121, 127, 128, 129, 1000)),
    ["x" * 27, "y" * 27], ["x" * 31, "y" * 32], ["é" * 27], ["é" * 28], ["é" * 32],
    # Numbers are text.
    ["42"], ["042"], ["4.2e1"], ["-1"], ["9223372036854775807"],
    # Found by trying numbers: keys near zero, and near both ends.
    ["edge", "near zero", "1065964"], ["edge", "near zero", "437491"],
    ["edge", "largest", "1642070"], ["edge", "smallest", "1963920"],
]

DESCRIBED = [
    [{"text": "x", "repeat": 1 << 20}],
    [{"text": "🔒", "repeat": 1 << 18}, {"text": "tail", "repeat": 1}],
    [{"text": "part", "repeat": 1}] + [{"text": "0123456789", "repeat": 1000}] * 50,
]


def utf8(parts):
    return "-".join(parts).encode("utf-8")


def key(data):
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big", signed=True)


def vectors():
    seen, rows = set(), []
    for parts in NAMES:
        if tuple(parts) not in seen:
            seen.add(tuple(parts))
            rows.append({"parts": parts, "utf8": utf8(parts).hex(), "key": str(key(utf8(parts)))})
    described = [
        {"parts": parts, "key": str(key(utf8(part["text"] * part["repeat"] for part in parts)))} for parts in DESCRIBED
    ]
    return {"vectors": rows, "described": described}


def main():
    lines = json.dumps(vectors(), ensure_ascii=True)
    text = lines.replace('{"parts"', '\n{"parts"').replace('"described"', '\n"described"') + "\n"
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text(encoding="ascii") != text:
            sys.exit(f"{FILE.name} is not what {pathlib.Path(__file__).name} writes")
    else:
        FILE.write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
