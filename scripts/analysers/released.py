"""Whoever has an earlier version installed gets the new library under its old functions, with the server's next start or
session, and upgrades later. So the library must have every symbol that a released script names, and take the same
arguments there as then. Arguments: the library, the install script of the present version."""

import pathlib
import re
import subprocess
import sys

from pglast import ast, parse_sql
from pglast.enums import FunctionParameterMode
from pglast.stream import RawStream

PROJECT = pathlib.Path(__file__).parents[2]
RESULTS = {FunctionParameterMode.FUNC_PARAM_OUT, FunctionParameterMode.FUNC_PARAM_TABLE}


def functions(script):
    """How SQL declares each C function of a script: by symbol, the types of its arguments, its result, and whether it
    is called with NULL. Defaults and names of arguments are nothing to the symbol."""
    declared = {}
    for statement in parse_sql(re.sub(r"^\\", "-- ", script.read_text(encoding="utf-8"), flags=re.MULTILINE)):
        function = statement.stmt
        if not isinstance(function, ast.CreateFunctionStmt):
            continue
        options = {option.defname: option.arg for option in function.options}
        if options["language"].sval != "c":
            continue
        parameters = function.parameters or ()
        arguments = [RawStream()(p.argType) for p in parameters if p.mode not in RESULTS]
        columns = [f"{p.name} {RawStream()(p.argType)}" for p in parameters if p.mode in RESULTS]
        result = f"({', '.join(columns)})" if columns else RawStream()(function.returnType) if function.returnType else ""
        strict = " STRICT" if "strict" in options and options["strict"].boolval else ""
        declared[options["as"][-1].sval] = f"({', '.join(arguments)}) -> {result}{strict}"
    return declared


def needed(symbol):
    """The symbols that Postgres looks up when such a function is called: beside it stands how it is called."""
    return {symbol, f"pg_finfo_{symbol}"}


def main(library, present):
    symbols = set(subprocess.run(
        ["nm", "-D", "--defined-only", "--format=just-symbols", library], check=True, capture_output=True, text=True
    ).stdout.split())
    now = functions(pathlib.Path(present))
    problems, checked = [], 0
    for line in (PROJECT / "sql" / "released.sha256").read_text(encoding="utf-8").splitlines():
        name = line.split()[1]
        # The portable edition has no library.
        if not name.startswith("sql/"):
            continue
        for symbol, then in functions(PROJECT / name).items():
            checked += 1
            if lost := needed(symbol) - symbols:
                problems.append(f"{name} needs the symbol {', '.join(sorted(lost))}, and the library does not have it any more")
            elif now.get(symbol, then) != then:
                problems.append(
                    f"{symbol} was released as {then} by {name}, and is {now[symbol]} now: a function that changes"
                    " gets a new symbol, and the old one stays"
                )
    for symbol in now:
        if lost := needed(symbol) - symbols:
            problems.append(f"the install script needs the symbol {', '.join(sorted(lost))}, and the library does not have it")
    if not checked or not now:
        problems.append(f"{checked} released functions and {len(now)} of the present were found")
    for problem in problems:
        print(problem)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
