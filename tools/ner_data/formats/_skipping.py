"""Rows of a table that have nothing in them: skipped, and counted with the next record, or with the last one."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

EMPTY = "empty rows (skipped)"
Row = TypeVar("Row")


def with_skipped(rows: Iterable[tuple[Row, bool]]) -> Iterator[tuple[Row, int]]:
    """The rows that are not empty, each with how many empty ones were skipped, of (row, whether it is empty)."""
    held: list[tuple[Row, int]] = []
    count = 0
    for row, is_empty in rows:
        if is_empty:
            count += 1
            continue
        yield from held
        held, count = [(row, count)], 0
    for row, before in held:
        yield row, before + count
