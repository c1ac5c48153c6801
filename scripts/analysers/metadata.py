"""Facts that stand in several files agree, and what was released is as it was released."""

import hashlib
import json
import pathlib
import re
import subprocess
import sys

PROJECT = pathlib.Path(__file__).parents[2]

DIFFERENT_COMMENTS = {
    "VIEW advisory_locks": "without names",
    "COLUMN advisory_locks.name": "without names",
    "COLUMN advisory_locks.held_since": "without shared memory",
    "COLUMN advisory_locks.level": "without shared memory",
    "FUNCTION advisory_key_name(bigint)": "without names",
    "PROCEDURE acquire_keys(text[], interval, boolean, boolean)": "with a snapshot",
}
"""What the portable edition says otherwise, and why."""

problems = []


def text(name):
    return (PROJECT / name).read_text(encoding="utf-8")


def found(pattern, name):
    match = re.search(pattern, text(name), re.MULTILINE)
    return match[1] if match else "none"


def leases_script():
    return json.loads(text("META.json"))["provides"]["advisory_leases"]["file"]


def check_versions():
    meta = json.loads(text("META.json"))
    version = found(r'^version = "(.*)"$', "Cargo.toml")
    versions = {
        "Cargo.lock": found(r'^name = "advisory_keys"\nversion = "(.*)"$', "Cargo.lock"),
        "META.json": meta["version"],
        **{f"META.json, {name}": extension["version"] for name, extension in meta["provides"].items()},
        "the head of sql/portable.sql": found(r"\A-- advisory_keys ([^ ,]+), portable edition", "sql/portable.sql"),
        "the top of CHANGELOG.md": found(r"^## (\S+)", "CHANGELOG.md"),
        "advisory_keys.control": found(r"^default_version = '(.*)'$", "advisory_keys.control"),
        "advisory_leases.control": found(r"^default_version = '(.*)'$", "leases/advisory_leases.control"),
        "the head of the script of advisory_leases": found(r"\A-- advisory_leases ([^ :]+):", leases_script()),
        "the top of debian/changelog": found(r"\A\S+ \((.+)-\d+\)", "debian/changelog"),
    }
    for place, other in versions.items():
        if other != version:
            problems.append(f"the version is {version} in Cargo.toml, and {other} in {place}")
    return version


def check_bundle(version):
    """META.json has what PGXN asks for, and says what is true of the tree."""
    meta = json.loads(text("META.json"))
    scripts = {"advisory_keys": f"sql/advisory_keys--{version}.sql", "advisory_leases": f"leases/advisory_leases--{version}.sql"}
    for key in ("name", "abstract", "version", "maintainer", "license", "provides", "meta-spec"):
        if not meta.get(key):
            problems.append(f"META.json has no {key}, which PGXN asks for")
    facts = {
        "name": (meta["name"], found(r'^name = "(.*)"$', "Cargo.toml")),
        "license": (meta["license"], found(r'^license = "(.*)"$', "Cargo.toml").lower()),
        "extensions": (set(meta["provides"]), {path.stem for folder in (PROJECT, PROJECT / "leases") for path in folder.glob("*.control")}),
        "files": ({name: extension["file"] for name, extension in meta["provides"].items()}, scripts),
        "least PostgreSQL": (meta["prereqs"]["runtime"]["requires"]["PostgreSQL"], found(r'^pg(\d+) = ', "Cargo.toml") + ".0.0"),
    }
    for fact, (said, true) in facts.items():
        if said != true:
            problems.append(f"the {fact} of META.json is {said}, and should be {true}")
    for file in (*scripts.values(), *(extension["docfile"] for extension in meta["provides"].values())):
        if not (PROJECT / file).is_file():
            problems.append(f"META.json names {file}, which is not there")


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
    """What sql/released.sha256 names is as it was. Every version in sql/released.txt has its two editions there, every script of an earlier
    version, and of an upgrade to one, is there too; and from each earlier version there is a way to the present one."""
    digests = dict(reversed(line.split()) for line in text("sql/released.sha256").splitlines())
    for name, digest in digests.items():
        file = PROJECT / name
        if not file.exists():
            problems.append(f"{name} was released, and is not there any more")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            problems.append(f"{name} was released, and is not as it was")

    releases = {release: commit for release, commit, *_ in map(str.split, text("sql/released.txt").splitlines())}
    for release, commit in releases.items():
        for name in (f"sql/advisory_keys--{release}.sql", f"tests/portable/released/portable-{release}.sql"):
            if name not in digests:
                problems.append(f"{release} was released, and the sha256 of its {name} is not in sql/released.sha256")
        check_commit(release, commit)

    steps = {}
    for script in sorted((PROJECT / "sql").glob("advisory_keys--*.sql")):
        *origin, target = script.stem.split("--")[1:]
        if origin:
            steps.setdefault(origin[0], []).append(target)
        if target == version:
            continue
        if f"sql/{script.name}" not in digests:
            problems.append(f"{script.name} was released, and its sha256 is not in sql/released.sha256")
        if target not in releases:
            problems.append(f"{script.name} was released, and {target} is not in sql/released.txt")
    for release in releases:
        reached, new = set(), {release}
        while new:
            reached |= new
            new = {target for origin in new for target in steps.get(origin, [])} - reached
        if version not in reached:
            problems.append(f"no scripts lead from {release} to {version}")


def check_commit(release, commit):
    """The commit is of that version, as far as the history is here."""
    def git(*arguments):
        return subprocess.run(["git", "-C", PROJECT, *arguments], capture_output=True, text=True)

    manifest = git("show", f"{commit}:Cargo.toml")
    if manifest.returncode:
        if git("rev-parse", "--is-shallow-repository").stdout.strip() == "false":
            problems.append(f"commit {commit}, which {release} was released as, is not in the history")
    elif f'\nversion = "{release}"\n' not in manifest.stdout:
        problems.append(f"commit {commit} is not of {release}, which is said to be released as it")


version = check_versions()
check_bundle(version)
check_released(version)
check_rust()
check_comments()
for problem in problems:
    print(problem)
sys.exit(bool(problems))
