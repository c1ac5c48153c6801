"""The pages of the documentation, taken apart: blocks with their markers, headings, links.

A marker is an HTML comment right above a block:
  not run: WHY                 the block is not run
  run by: FILE[::TEST]         something else runs it; several are separated by commas
  native: WHY                  it is run in the native edition only
  in a new database            it is run in an empty database, and so is what follows
  in a new session             of SQL: those so far have ended
  before: CODE                 is run first, in the language of the block: what the reader is supposed to have
  somebody: SQL                another session has run this, and ends with the block
Below the title of a page, "page run by: FILE" (a test that takes all blocks from the page) and "page native: …" hold for all of its blocks."""

import pathlib
import re
from dataclasses import dataclass, field

from markdown_it import MarkdownIt

ROOT = pathlib.Path(__file__).parents[2]
RUN_PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""Those whose blocks are run."""
ALL_PAGES = [*RUN_PAGES, *(ROOT / name for name in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"))]

MARKERS = {"not run": True, "run by": True, "native": True, "in a new database": False, "in a new session": False, "before": True, "somebody": True}
"""Whether a text follows, after a colon."""
PAGE_MARKERS = {"page run by": True, "page native": True}


@dataclass
class Block:
    """A fenced block."""
    page: pathlib.Path
    line: int
    language: str
    text: str
    markers: dict = field(default_factory=dict)
    output: "Block | None" = None

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass
class Page:
    path: pathlib.Path
    blocks: list
    anchors: set
    links: list
    markers: dict
    problems: list
    sections: dict


def slug(heading, taken):
    """The anchor of a heading, as GitHub makes it."""
    anchor = base = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    number = 0
    while anchor in taken:
        number += 1
        anchor = f"{base}-{number}"
    return anchor


def read_marker(comment, known):
    """The (name, text) of a marker, or None."""
    name, colon, text = comment.partition(":")
    name = name.strip()
    return (name, text.strip()) if known.get(name) == bool(colon and text.strip()) and name in known else None


def read_page(path):
    """A page, and what is wrong with its markers."""
    page = Page(path, [], set(), [], {}, [], {})
    pending, section = [], ""

    def unused():
        page.problems.extend(f"line {line}: this marker belongs to no block: {comment}" for line, comment in pending)
        pending.clear()

    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    for before, token in zip([None, *tokens], tokens):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block":
            for comment in re.findall(r"<!--(.*?)-->", token.content, re.DOTALL):
                marker = read_marker(comment.strip(), PAGE_MARKERS)
                if marker and not page.blocks:
                    page.markers.update([marker])
                else:
                    pending.append((line, comment.strip()))
            continue
        if token.type == "fence":
            block = Block(path, line, token.info.strip(), token.content)
            for at, comment in pending:
                marker = read_marker(comment, MARKERS)
                if marker is None:
                    page.problems.append(f"line {at}: no such marker: {comment}")
                else:
                    block.markers.update([marker])
            pending.clear()
            if block.language == "text" and page.blocks and before.type == "fence" and not block.markers:
                page.blocks[-1].output = block
            else:
                page.blocks.append(block)
            continue
        unused()
        if token.type == "inline":
            if before.type == "heading_open":
                section = "".join(child.content for child in token.children if child.type in ("text", "code_inline"))
                page.anchors.add(slug(section, page.anchors))
            for child in token.children:
                target = child.attrGet("href") or child.attrGet("src")
                if target:
                    page.links.append((line, target))
                    page.sections.setdefault(section, []).append(target)
    unused()
    return page
