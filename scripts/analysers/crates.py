"""The crates of all Cargo.lock files: their licences, and of which there are two versions; and the licence texts of those that are
linked into the library, which go with it wherever it goes. What is allowed stands in crates.toml beside this program; an exception
that excepts nothing any more is an error as well.

Needs no network once the crates are there. With --write it makes THIRD-PARTY-LICENSES.txt, with --list it lists the crates.
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap
import tomllib

PROJECT = pathlib.Path(__file__).parents[2]
TEXTS = PROJECT / "THIRD-PARTY-LICENSES.txt"
ALLOWED = tomllib.loads(pathlib.Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
FOLDERS = [".", "tests/pure", "tests/torture", "tests/clients/rust"]

HEAD = """\
Licences of the crates that are linked into the library of advisory_keys. Made by scripts/analysers/crates.py, of Cargo.lock.
The Rust standard library, which is linked too, is under the MIT licence or the Apache licence 2.0, as you choose; its notices come
with the compiler (COPYRIGHT-library.html). advisory_keys itself: see LICENSE.
"""

MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files
(the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge,
publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do
so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE
FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

problems = []


def cargo(folder, command, option, *options):
    """What cargo says of the crates in a folder, for all platforms."""
    command = [os.environ.get("CARGO", "cargo"), command, "--locked", "--manifest-path", PROJECT / folder / "Cargo.toml", *options]
    for platform in ALLOWED["platforms"]:
        command += [option, platform]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def crates(folder):
    """All but our own, as cargo describes them."""
    packages = json.loads(cargo(folder, "metadata", "--filter-platform", "--format-version=1"))["packages"]
    return sorted((package for package in packages if package["source"]), key=lambda package: (package["name"], package["version"]))


def check_duplicates(folder, packages):
    excepted = ALLOWED["duplicates"].get(folder, {})
    versions = collections.defaultdict(set)
    for package in packages:
        versions[package["name"]].add(package["version"])
    duplicates = {name: sorted(several) for name, several in versions.items() if len(several) > 1}
    for name in duplicates.keys() - excepted.keys():
        problems.append(f"{folder}/Cargo.lock: {name} is there more than once: {', '.join(duplicates[name])}")
    for name in excepted.keys() - duplicates.keys():
        problems.append(f"crates.toml excepts that {name} is there twice in {folder}, and it is not")


def choose(expression):
    """The licences to take of an SPDX expression, the best by the order of crates.toml; None if none is allowed."""
    words = re.findall(r"[()]|[\w.+-]+", expression.replace("/", " OR "))

    def either():
        choices = [both()]
        while words and words[0] == "OR":
            words.pop(0)
            choices.append(both())
        allowed = [choice for choice in choices if choice is not None]
        return min(allowed, key=lambda choice: max(map(ALLOWED["licences"].index, choice)), default=None)

    def both():
        needed = [one()]
        while words and words[0] == "AND":
            words.pop(0)
            needed.append(one())
        return None if None in needed else [licence for choice in needed for licence in choice]

    def one():
        word = words.pop(0)
        if word == "(":
            choice = either()
            words.pop(0)
            return choice
        if words and words[0] == "WITH":
            word = " ".join([word, words.pop(0), words.pop(0)])
        return [word] if word in ALLOWED["licences"] else None

    return either()


def licence_text(package, licence):
    """The text of one licence as the crate brings it."""
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [file for file in (*folder.glob("*"), *folder.glob("LICENSES/*"))
             if file.is_file() and re.match(r"(un)?licen[sc]e|copying|mit|apache", file.name, re.IGNORECASE)]
    word = licence.split("-")[0].lower()
    named = [file for file in files if word in file.name.lower()] or (files if len(files) == 1 else [])
    if named:
        text = min(named).read_text(encoding="utf-8").replace("\r\n", "\n").expandtabs()
        return "\n".join(line.rstrip() for line in textwrap.dedent(text).strip().splitlines()) + "\n"
    for copyright in ALLOWED["copyright"]:
        if licence == "MIT" and package["name"] in copyright["crates"]:
            return f"{copyright['lines']}\n{MIT}"
    problems.append(f"{package['name']} {package['version']} brings no text of the licence {licence}")
    return ""


def linked():
    """Names and versions of the crates whose code gets into the library."""
    tree = cargo(".", "tree", "--target", "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}")
    return {tuple(re.match(r"(\S+) v(\S+)", line).groups()) for line in tree.splitlines() if line}


def licence_texts(packages):
    """What THIRD-PARTY-LICENSES.txt says: each text once, with the crates that it is of."""
    crates_of = collections.defaultdict(list)
    shipped = linked()
    for package in packages:
        if (package["name"], package["version"]) in shipped:
            for licence in choose(package["license"] or "") or []:
                crates_of[licence_text(package, licence)].append(f"{package['name']} {package['version']} ({licence})")
    line = "-" * 80 + "\n"
    return HEAD + "".join("\n" + line + "\n".join(names) + "\n" + line + "\n" + text for text, names in crates_of.items())


def main(option=None):
    licences = {}
    for folder in FOLDERS:
        packages = crates(folder)
        check_duplicates(folder, packages)
        for package in packages:
            licences[package["name"], package["version"]] = package["license"] or "no licence"
        if folder == ".":
            texts = licence_texts(packages)
    for (name, version), licence in sorted(licences.items()):
        if choose(licence) is None:
            problems.append(f"{name} {version} is under {licence}, which crates.toml does not allow")
        elif option == "--list":
            print(f"{name} {version}: {licence}")
    if option == "--write":
        TEXTS.write_text(texts, encoding="utf-8")
    elif texts != TEXTS.read_text(encoding="utf-8"):
        problems.append(f"{TEXTS.name} does not fit Cargo.lock: run python3 scripts/analysers/crates.py --write")
    for problem in problems:
        print(problem)
    print(f"{len(licences)} crates, {texts.count('-' * 80) // 2} texts of licences that go with the library")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
