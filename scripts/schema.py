"""The install script out of what cargo pgrx schema prints: the same for the same code, wherever and however often it is made.
It says where in the code each object stands, and leaves their order open."""

import re
import sys

BLOCK = re.compile(r"/\* <begin connected objects> \*/\n(.*?)/\* </end connected objects> \*/\n", re.DOTALL)
HEAD = re.compile(r"\A(--.*\n)*\n*")
RUST_TYPE = re.compile(r" */\* .*? \*/")
FUNCTION = re.compile(r'CREATE (?:FUNCTION|PROCEDURE) "(\w+)"')


def sql(block):
    text = HEAD.sub("", block)
    if text.startswith("CREATE  FUNCTION"):
        text = RUST_TYPE.sub("", text).replace("CREATE  FUNCTION", "CREATE FUNCTION", 1).replace("\t", "  ")
    return text


def main():
    # The first says only who made it.
    _, prologue, *blocks = map(sql, BLOCK.findall(sys.stdin.read()))
    if not prologue.startswith("\\echo "):
        sys.exit("the prologue was expected first")
    functions = sorted((block for block in blocks if FUNCTION.match(block)), key=lambda block: FUNCTION.match(block)[1])
    others = [block for block in blocks if not FUNCTION.match(block)]
    guard, rest = prologue.split("\n", 1)
    sys.stdout.write("\n".join([f"{guard}\n\n-- Made from the code by make schema.\n{rest}", *functions, *others]))


main()
