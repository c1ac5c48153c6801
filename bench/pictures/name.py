"""Draws how a name becomes a lock; the integers are computed."""

import argparse
import hashlib
import pathlib

from style import CORE, OTHERS, OURS, write

PARTS = ["order", "42"]
WIDTH, HEIGHT = 830, 268
MONO = "ui-monospace, 'DejaVu Sans Mono', monospace"


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--output", type=pathlib.Path, required=True)
    options = arguments.parse_args()
    digest = hashlib.sha256("-".join(PARTS).encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    write(options.output, lambda colours: picture(colours, digest, key))


def picture(colours, digest, key):
    parts = []

    def text(x, y, words, size=13, colour=colours["text"], family="sans-serif", anchor="middle", weight="normal"):
        parts.append(f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" font-family="{family}" text-anchor="{anchor}" font-weight="{weight}">{words}</text>')

    def box(x, y, width, height, colour):
        parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{colours["box"]}" stroke="{colour}" stroke-width="1.5"/>')

    def arrow(x, y, to_x, to_y):
        parts.append(f'<path d="M{x} {y}L{to_x} {to_y}" stroke="{colours["faint"]}" stroke-width="1.5" marker-end="url(#head)"/>')

    # Who asks: in any language, by any driver.
    callers = [("Ruby, Go, psql …", f"lock_keys('{{{','.join(PARTS)}}}')", OURS), ("Python, Java …", f"try_lock_keys(ARRAY{PARTS})", OURS),
               ("code that hashes for itself", "pg_advisory_lock(…)", CORE)]
    for number, (who, call, colour) in enumerate(callers):
        y = 30 + number * 76
        box(10, y, 246, 50, colour)
        text(133, y + 20, who, 12, colours["faint"])
        text(133, y + 38, call.replace("<", "&lt;"), 11.5, family=MONO)

    # How the name becomes a key.
    box(300, 30, 246, 126, OURS)
    text(423, 50, "inside Postgres", 12, colours["faint"])
    text(423, 72, f"{'-'.join(PARTS)}, in UTF-8", 12.5, family=MONO)
    text(423, 92, f"SHA-256: {digest[:8].hex(' ', 2)} …", 12, family=MONO)
    text(423, 112, "its first 8 bytes, as bigint:", 12, colours["faint"])
    text(423, 136, str(key), 15, family=MONO, weight="bold")
    arrow(258, 55, 296, 70)
    arrow(258, 131, 296, 116)
    text(423, 198, "the same five lines in any language", 12, colours["faint"])
    parts.append(f'<path d="M258 207L586 207" stroke="{colours["faint"]}" stroke-width="1.5" stroke-dasharray="4 4" marker-end="url(#head)"/>')
    text(423, 226, "the same integer", 12, colours["faint"])

    # What is locked.
    box(590, 30, 230, 202, CORE)
    text(705, 50, "Postgres' own lock table", 12, colours["faint"])
    text(705, 76, str(key), 12.5, family=MONO, weight="bold")
    for number, (who, what, colour) in enumerate([("pid 4711", "holds", OURS), ("pid 4712", "waits, 5 s at most", OTHERS), ("pid 4713", "waits", OTHERS)]):
        y = 92 + number * 32
        parts.append(f'<rect x="606" y="{y}" width="198" height="26" rx="4" fill="{colour}" fill-opacity="0.18"/>')
        text(616, y + 17, who, 12, family=MONO, anchor="start")
        text(796, y + 17, what, 12, anchor="end")
    text(705, 206, "one queue, in order;", 12, colours["faint"])
    text(705, 222, "deadlocks are found", 12, colours["faint"])
    arrow(548, 93, 586, 93)
    text(415, 258, "so whoever passes the same name, from whatever language, gets the same lock", 12.5, colours["text"])

    head = f'<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colours["faint"]}"/></marker>'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">\n'
            f"<title>How a name becomes a lock</title>\n<defs>{head}</defs>\n" + "\n".join(parts) + "\n</svg>\n")


if __name__ == "__main__":
    main()
