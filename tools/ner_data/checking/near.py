"""Texts that are nearly the same, inside a split and across splits; see `ner_data.near_duplicates`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ner_data.checking.places import Places
from ner_data.checking.report import MOST, PLACES, Finding, Found
from ner_data.checking.texts import Texts, each_split_first
from ner_data.gold import pieces, records_of
from ner_data.near_duplicates import SIMILAR, groups

AUTOMATIC = 200_000  # distinct texts up to which they are searched unasked


def near_duplicates(texts: Texts, places: Places, paths: dict[str, Path], tick: Callable[[int], object]) -> Found:
    """Groups of distinct texts, each of which is similar to another one of its group."""
    import numpy as np

    wanted = np.zeros(len(texts.group), bool)
    wanted[texts.first] = True
    rows: list[int] = []
    joined = groups(_distinct(texts, wanted, paths, rows), tick=tick)
    of: dict[int, list[int]] = {group: [] for group in joined.alike}
    for at, first in enumerate(joined.of):
        if first in of:
            of[first].append(at)
    members = [(numbers, joined.alike[first]) for first, numbers in of.items()]
    found = Found(len(members))
    ranked = []
    for group, (least, most) in members:
        own = [rows[at] for at in group]
        counts = texts.copies[:, texts.group[own]].sum(axis=1)
        splits = [split for split, records in zip(texts.splits, counts.tolist(), strict=True) if records]
        ranked.append((-len(splits), -len(own), own, splits, least, most))
    ranked.sort(key=lambda one: one[:3])
    across = sum(least < -1 for least, *_ in ranked)
    alike = sum(len(group) for group, _ in members)
    found.figures = {"groups": len(members), "texts": alike, "across": across, "threshold": SIMILAR}
    if members:
        found.notes.append(
            f"{alike:,} texts in {len(members):,} groups share {SIMILAR:.0%} or more of their character pairs with "
            f"another one; {across:,} of the groups have texts in several splits"
        )
    for _, size, own, splits, least, most in ranked[:MOST]:
        share = f"{least:.0%}" if f"{least:.0%}" == f"{most:.0%}" else f"{least:.0%} to {most:.0%}"
        own = each_split_first(own, texts.split)
        where = tuple(places.at(split, (number, 0, 0)) for split, number in map(texts.spot, own[:PLACES]))
        detail = f"{-size:,} texts that share {share} of their character pairs, in {' and '.join(splits)}"
        found.findings.append(Finding(where[0].text, detail, where, -size - len(where)))
    return found


def _distinct(texts: Texts, wanted: Any, paths: dict[str, Path], rows: list[int]) -> Iterator[str]:
    """Each distinct text once; adds the numbers of the records that have it first to ``rows``."""
    row = 0
    for split in texts.splits:
        for piece in pieces(paths[split]):
            for record in records_of(paths[split], piece):
                if wanted[row]:
                    rows.append(row)
                    yield record.text
                row += 1
