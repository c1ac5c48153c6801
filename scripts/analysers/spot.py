"""pgspot over SQL files: which names in them could a stranger's object take? Arguments: the files.

What is excepted stands in excepted.txt beside this program; an exception that excepts nothing any more is an
error as well.
"""

import pathlib
import re
import sys
from argparse import Namespace

from pglast import ast, parse_sql
from pglast.printers import dml as printers
from pgspot import visitors
from pgspot.codes import codes
from pgspot.formatters import format_function
from pgspot.state import Counter, State

EXCEPTED = pathlib.Path(__file__).with_name("excepted.txt")

NAMES = {"PS001", "PS009", "PS016", "PS017"}
"""What pgspot says of an operator, function or other object without its schema."""


class Visitor(visitors.SQLVisitor):
    """Reads what pgspot cannot read yet, and knows in which function it is."""

    def visit_CreateFunctionStmt(self, ancestors, node):
        name = format_function(node)
        if not any(option.defname == "as" for option in node.options):
            # The body is an expression, not a string. What it names is found when the file runs, not when the
            # function does: it needs no search_path of its own, and is visited as a part of the statement.
            node.options += (ast.DefElem(defname="as", arg=(ast.String(sval=""),)),)
            self.state.args.proc_without_search_path.append(name)
            super().visit_CreateFunctionStmt(ancestors, node)
            return
        self.state.counter.function = name
        try:
            super().visit_CreateFunctionStmt(ancestors, node)
        except Exception as error:  # whatever it stumbles over is not checked
            self.state.counter.unknown(f"not read further: {error!r}")
        self.state.counter.function = None


def last_name(names):
    """What pglast prints operators by; its own cannot print one with a schema inside another."""
    return names[-1].sval


visitors.SQLVisitor = Visitor
printers.get_string_value = last_name


class Findings(Counter):
    """What pgspot says about one file: code, what it is about, the function in whose body, and line."""

    def __init__(self):
        # What is replaced in a constant is read as SQL: so the portable edition puts in its schema.
        super().__init__(Namespace(
            proc_without_search_path=[], plpgsql=True, ignore=[], ignore_lang=[], sql_fn=["replace"]
        ))
        self.function = None
        self.found = []

    def print_issue(self, code, context):
        self.found.append((code, " ".join(context.split()), self.function, self.line_number()))

    def unknown(self, message):
        self.found.append(("unknown", message, self.function, self.line_number()))


def findings(path):
    counter = Findings()
    state = State(counter)
    # Commands of psql are no SQL.
    counter.sql = re.sub(r"^\\", "-- ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for statement in parse_sql(counter.sql):
        counter.stmt_location = statement.stmt_location
        try:
            Visitor(state)(statement)
        except Exception as error:  # as above
            counter.unknown(f"not read further: {error!r}")
    return counter.found


class Exceptions:
    """What excepted.txt says: file, code, what it is about; each may have the sign *."""

    def __init__(self):
        lines = EXCEPTED.read_text(encoding="utf-8").splitlines()
        self.unused = {tuple(line.split(None, 2)): None for line in lines if line and not line.startswith("#")}
        self._patterns = list(self.unused)

    def match(self, file, code, context):
        for pattern in self._patterns:
            if all(
                re.fullmatch(re.escape(part).replace(r"\*", ".*"), text)
                for part, text in zip(pattern, (file, code, context))
            ):
                self.unused.pop(pattern, None)
                return True
        return False

    def match_body(self, file, code, function):
        """May this function use names as it likes?"""
        return code in NAMES and function is not None and self.match(file, "body", function)


def main(paths):
    exceptions = Exceptions()
    failed = False
    for path in map(pathlib.Path, paths):
        for code, context, function, line in findings(path):
            if exceptions.match(path.name, code, context) or exceptions.match_body(path.name, code, function):
                continue
            failed = True
            title = codes[code]["title"] if code in codes else "pgspot"
            print(f"{path.name}:{line}: {code} {title}: {context}" + (f" (in {function})" if function else ""))
    for unused in exceptions.unused:
        failed = True
        print(f"{EXCEPTED.name}: excepts nothing any more: {' '.join(unused)}")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
