"""A Postgres into which tests may put what they like."""

import os
import pathlib
import shutil
import subprocess


class Installation:
    """A copy of the Postgres of a pg_config, without the extensions. Its programs find its files from where they are themselves, and so, if it
    was made that way, the libraries beside it: the copy has the place in the folder that the original has in the file system, among links to
    what surrounds that."""

    def __init__(self, pg_config, folder):
        originals = [
            pathlib.Path(subprocess.run([pg_config, option], check=True, capture_output=True, text=True).stdout.strip())
            for option in ("--bindir", "--pkglibdir", "--sharedir")
        ]
        copies = [folder / original.relative_to("/") for original in originals]
        for original, copy in zip(originals, copies):
            shutil.copytree(original, copy, symlinks=True, ignore=shutil.ignore_patterns("advisory_*", "bitcode", "pgxs"))
        for surrounding in pathlib.Path(os.path.commonpath(originals)).parents:
            for file in surrounding.iterdir():
                link = folder / file.relative_to("/")
                if not link.exists():
                    link.symlink_to(file)
        self.bindir, self._libraries, share = copies
        self._extension = share / "extension"

    def clear(self):
        """Removes all versions of the extensions."""
        for folder in (self._libraries, self._extension):
            for file in folder.glob("advisory_*"):
                file.unlink()

    def put(self, files):
        """Installs the files of a folder as `install` does: who has an earlier one open keeps that."""
        for file in pathlib.Path(files).iterdir():
            folder = self._libraries if file.suffix == ".so" else self._extension
            fresh = folder / f"{file.name}.new"
            shutil.copyfile(file, fresh)
            os.replace(fresh, folder / file.name)


def has_the_old_library(db):
    """Of a session on this machine that has the library: is its file no more, since another took its place?"""
    with open(f"/proc/{db.info.backend_pid}/maps", encoding="utf-8") as maps:
        (library,) = {line.split(maxsplit=5)[5].strip() for line in maps if "advisory_keys.so" in line}
    return library.endswith(" (deleted)")
