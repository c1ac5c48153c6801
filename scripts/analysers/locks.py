"""Whatever is brought from a registry is locked to one version, and that to a hash, by which cargo, npm and pip know what they
download: each manifest has its lock file beside it, and each package there its hash."""

import json
import pathlib
import re
import sys
import tomllib

PROJECT = pathlib.Path(__file__).parents[2]


def cargo(text):
    """A crate of a registry has a checksum; one of a git repository has not. Our own have no source."""
    return [(package["name"], "checksum" in package) for package in tomllib.loads(text)["package"] if "source" in package]


def npm(text):
    """Nor may it say where each package was found: npm asks the registry that it is set up for."""
    packages = json.loads(text)["packages"]
    return [(name, package.get("integrity", "").startswith("sha512-") and "resolved" not in package)
            for name, package in packages.items() if name]


def pip(text):
    requirements = re.findall(r"^(\w\S*==.*(?:\n .*)*)", text, re.MULTILINE)
    return [(requirement.split()[0], "--hash=sha256:" in requirement) for requirement in requirements]


LOCKS = {"Cargo.toml": ("Cargo.lock", cargo), "package.json": ("package-lock.json", npm), "requirements.in": ("requirements.txt", pip)}

problems, checked = [], 0
for manifest, (name, read) in LOCKS.items():
    found = [*PROJECT.glob(manifest), *(file for folder in ("bench", "scripts", "tests") for file in (PROJECT / folder).rglob(manifest))]
    if not found:
        problems.append(f"no {manifest} was found")
    for lock in (file.with_name(name) for file in found):
        place = lock.relative_to(PROJECT)
        if not lock.exists():
            problems.append(f"{place} is missing")
            continue
        packages = read(lock.read_text(encoding="utf-8"))
        checked += len(packages)
        problems += [f"{place}: {package} is not locked to a hash alone" for package, hashed in packages if not hashed]
        if not packages:
            problems.append(f"{place} locks nothing")
for problem in problems:
    print(problem)
print(f"{checked} packages are locked")
sys.exit(bool(problems))
