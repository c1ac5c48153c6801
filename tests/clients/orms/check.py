"""Runs what docs/orms-and-pools.md says: the block of each library's section, by the program that is named for it on the command line
as LIBRARY=COMMAND, and compares the library's row in the table of that page."""

import json
import pathlib
import re
import shlex
import subprocess
import sys

PAGE = (pathlib.Path(__file__).parents[3] / "docs" / "orms-and-pools.md").read_text(encoding="utf-8")
BLOCKS = {title: block for title, block in re.findall(r"^## ([^\n]+)\n\n```\w+\n(.+?)^```", PAGE, re.DOTALL | re.MULTILINE)}
ROWS = {
    name.split(" (")[0]: {"version": version, "refused": refused, "sqlstate": sqlstate, "pool": pool}
    for name, version, refused, sqlstate, pool in re.findall(r"^\| (\S[^|]*) \| (\S+) \| `(\S+)` \| `(.+?)` \| (\w+) \|$", PAGE, re.MULTILINE)
}


def check(name, command):
    """What is wrong, or nothing."""
    row = dict(ROWS[name])
    # Nobody waits that long here.
    request = {"block": BLOCKS[name].replace("5s", "50ms"), "sqlstate": row.pop("sqlstate")}
    assert "50ms" in request["block"], name
    done = subprocess.run([*shlex.split(command), json.dumps(request)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        return f"{name}: {done.stdout}{done.stderr}"
    facts = json.loads(done.stdout.splitlines()[-1])
    return "" if facts == row else f"{name}: the page says {row}, and it is {facts}"


def main():
    commands = dict(argument.split("=", 1) for argument in sys.argv[1:])
    problems = [] if set(commands) == set(ROWS) == set(BLOCKS) else [
        f"sections {sorted(BLOCKS)}, rows {sorted(ROWS)} and programs {sorted(commands)} are not of the same libraries"]
    for name, command in [] if problems else commands.items():
        problem = command and check(name, command)
        print(f"  {name:14} {ROWS[name]['version']:8} {'FAILED' if problem else 'ok' if command else 'skipped'}", flush=True)
        problems += [problem] if problem else []
    print("\n".join(problems))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
