"""Markdown: tables and cells."""

from collections.abc import Iterable, Iterator


def cell(text: str) -> str:
    """A text on one line, as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(header: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    """The lines of a table; cells are Markdown already."""
    yield f"| {' | '.join(header)} |"
    yield f"| {' | '.join('---' for _ in header)} |"
    yield from (f"| {' | '.join(row)} |" for row in rows)
