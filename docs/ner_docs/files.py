"""Documents of docs/ that other programs write (formats, benchmarks, …), as a part of a page."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
FOLDER = "reference"  # of the site, where pages with such documents are
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def page(name: str, language: str = "en") -> str:
    """A document without its title. Links to files that the site does not have become their paths."""
    text = (DOCS / name).read_text("utf-8")
    return _LINK.sub(_link, text.split("\n", 1)[1]).strip() + "\n"


def _link(found: re.Match[str]) -> str:
    picture, words, target, _ = found.groups()
    if picture or "://" in target:
        return found[0]
    path = (DOCS / target).resolve().relative_to(DOCS.parent).as_posix()
    return f"{words} (`{path}`)"
