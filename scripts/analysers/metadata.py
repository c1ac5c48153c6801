"""Facts that stand in several files agree, and what was released is as it was released."""

import hashlib
import json
import pathlib
import re
import sys

PROJECT = pathlib.Path(__file__).parents[2]

DIFFERENT_COMMENTS = {
    "VIEW advisory_locks": "without names",
    "COLUMN advisory_locks.name": "without names",
    "FUNCTION advisory_key_name(bigint)": "without names",
}
"""What the portable edition says otherwise, and why."""

problems = []


def text(name):
    return (PROJECT / name).read_text(encoding="utf-8")


def found(pattern, name):
    match = re.search(pattern, text(name), re.MULTILINE)
    return match[1] if match else "none"


def check_versions():
    meta = json.loads(text("META.json"))
    version = found(r'^version = "(.*)"$', "Cargo.toml")
    versions = {
        "META.json": meta["version"],
        "META.json, provides": meta["provides"]["advisory_keys"]["version"],
        "the head of sql/portable.sql": found(r"\A-- advisory_keys ([^ ,]+), portable edition", "sql/portable.sql"),
        "the top of CHANGELOG.md": found(r"^## (\S+)", "CHANGELOG.md"),
        "advisory_keys.control": found(r"^default_version = '(.*)'$", "advisory_keys.control"),
    }
    for place, other in versions.items():
        if other != version:
            problems.append(f"the version is {version} in Cargo.toml, and {other} in {place}")
    return version


def check_rust():
    needed, told = found(r'^rust-version = "(.*)"$', "Cargo.toml"), found(r"You need Rust (\S+) or newer", "README.md")
    if needed != told:
        problems.append(f"Cargo.toml asks for Rust {needed}, and README.md for {told}")


def comments(name):
    """The texts of COMMENT ON by object; in the portable edition the place of the schema stands before it."""
    pattern = r"^COMMENT ON (\w+) (?:@extschema@\.)?(.+?) IS\s+'((?:[^']|'')*)';"
    return {f"{kind} {object}": comment for kind, object, comment in re.findall(pattern, text(name), re.MULTILINE)}


def check_comments():
    native, portable = comments("sql/comments.sql"), comments("sql/portable.sql")
    both = native.keys() & portable.keys()
    if len(both) < 10:
        problems.append(f"only {len(both)} comments were found in both sql/comments.sql and sql/portable.sql")
    for object in sorted(both):
        if (native[object] == portable[object]) == (object in DIFFERENT_COMMENTS):
            problems.append(
                f"the comment on {object} is {'the same' if object in DIFFERENT_COMMENTS else 'not the same'}"
                " in sql/comments.sql and sql/portable.sql"
            )


def check_released(version):
    """Every script of an earlier version, and of an upgrade to one, is in sql/released.sha256, unchanged; and from each
    earlier version there is a way to the present one."""
    released = dict(reversed(line.split()) for line in text("sql/released.sha256").splitlines())
    steps, installs = {}, []
    for script in sorted((PROJECT / "sql").glob("advisory_keys--*.sql")):
        *origin, target = script.stem.split("--")[1:]
        if origin:
            steps.setdefault(origin[0], []).append(target)
        else:
            installs.append(target)
        if target != version and script.name not in released:
            problems.append(f"{script.name} was released, and its sha256 is not in sql/released.sha256")
    for name, digest in released.items():
        script = PROJECT / "sql" / name
        if not script.exists():
            problems.append(f"{name} was released, and is not there any more")
        elif hashlib.sha256(script.read_bytes()).hexdigest() != digest:
            problems.append(f"{name} was released, and is not as it was")
    for install in installs:
        reached, new = set(), {install}
        while new:
            reached |= new
            new = {target for origin in new for target in steps.get(origin, [])} - reached
        if version not in reached:
            problems.append(f"no scripts lead from {install} to {version}")


check_released(check_versions())
check_rust()
check_comments()
for problem in problems:
    print(problem)
sys.exit(bool(problems))
