"""Texts that are nearly the same: MinHash with banding finds candidates, their exact similarity decides.

The similarity of two texts is Jaccard's: of the sets of their character trigrams, the share of the common ones in all
(Broder, "On the resemblance and containment of documents", 1997). With `PERMUTATIONS` in `BANDS`, two texts of
similarity s become candidates with probability 1 - (1 - s^6)^21: 0.998 at 0.8.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ner_common.parallel import chunks
from ner_data.checking.places import Places
from ner_data.checking.report import MOST, PLACES, Finding, Found
from ner_data.checking.scanning import pieces, read_piece, read_sentences
from ner_data.checking.texts import Texts, each_split_first

THRESHOLD = 0.8
AUTOMATIC = 200_000  # distinct texts up to which they are searched unasked
_GRAM = 3
PERMUTATIONS, BANDS = 126, 21
_SEED = 42
_BATCH = 512
_CROWD = 50  # texts of a group that others are compared with: of a template with thousands of copies, these are enough


def near_duplicates(texts: Texts, places: Places, paths: dict[str, Path], tick: Callable[[int], object]) -> Found:
    """Groups of distinct texts, each of which is similar to another one of its group."""
    import numpy as np

    wanted = np.zeros(len(texts.group), bool)
    wanted[texts.first] = True
    groups = _Groups()
    rows: list[int] = []
    known: list[str] = []
    for batch in chunks(_distinct(texts, wanted, paths), _BATCH):
        rows.extend(row for row, _ in batch)
        groups.add(known, [text for _, text in batch])
        tick(len(batch))
    members = groups.members()
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
    found.figures = {"groups": len(members), "texts": alike, "across": across, "threshold": THRESHOLD}
    if members:
        found.notes.append(
            f"{alike:,} texts in {len(members):,} groups share {THRESHOLD:.0%} or more of their trigrams with another "
            f"one; {across:,} of the groups have texts in several splits"
        )
    for _, size, own, splits, least, most in ranked[:MOST]:
        share = f"{least:.0%}" if f"{least:.0%}" == f"{most:.0%}" else f"{least:.0%} to {most:.0%}"
        own = each_split_first(own, texts.split)
        where = tuple(places.at(split, (number, 0, 0)) for split, number in map(texts.spot, own[:PLACES]))
        detail = f"{-size:,} texts that share {share} of their trigrams, in {' and '.join(splits)}"
        found.findings.append(Finding(where[0].text, detail, where, -size - len(where)))
    return found


def _distinct(texts: Texts, wanted: Any, paths: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """Each distinct text once, with the record that has it first."""
    row = 0
    for split in texts.splits:
        for start, size in pieces(paths[split]):
            for sentence in read_sentences(paths[split], start, read_piece(paths[split], start, size)):
                if wanted[row]:
                    yield row, sentence.text
                row += 1


class _Groups:
    """Similar texts by their numbers, joined as they come (union-find)."""

    def __init__(self) -> None:
        from rensa import RMinHashLSH

        self._parent: list[int] = []
        self._size: list[int] = []
        self._indexed: list[int] = []  # texts of each group that later ones are compared with
        self._alike: dict[int, tuple[float, float]] = {}
        self._index = RMinHashLSH(THRESHOLD, PERMUTATIONS, BANDS)

    def add(self, known: list[str], batch: list[str]) -> None:
        """Compare texts with those that are known and with each other; then they are known too."""
        from rensa import RMinHash, RMinHashLSH

        base = len(known)
        known.extend(batch)
        self._parent.extend(range(base, len(known)))
        self._size.extend([1] * len(batch))
        self._indexed.extend([0] * len(batch))
        sketches = RMinHash.from_token_sets([list(grams(text)) for text in batch], PERMUTATIONS, _SEED)
        own = RMinHashLSH(THRESHOLD, PERMUTATIONS, BANDS)
        own.insert_many(sketches, base)
        for at, candidates in enumerate(self._index.query_all(sketches), start=base):
            self._join(known, at, candidates)
        for at, candidates in enumerate(own.query_all(sketches), start=base):
            if self._size[self._root(at)] <= _CROWD:
                self._join(known, at, candidates)
        for at, sketch in enumerate(sketches, start=base):
            root = self._root(at)
            if self._indexed[root] < _CROWD:
                self._indexed[root] += 1
                self._index.insert(at, sketch)

    def _join(self, known: list[str], at: int, candidates: list[int]) -> None:
        """Join a text's group with those of the candidates that are similar to it."""
        own = grams(known[at])
        for other in sorted(candidates):
            one, two = self._root(at), self._root(other)
            if one == two:
                continue
            grams_of_other = grams(known[other])
            common = len(own & grams_of_other)
            alike = common / (len(own) + len(grams_of_other) - common)
            if alike >= THRESHOLD:
                low, high = min(one, two), max(one, two)
                self._parent[high] = low
                self._size[low] += self._size[high]
                self._indexed[low] += self._indexed[high]
                seen = [alike, *self._alike.get(low, ()), *self._alike.pop(high, ())]
                self._alike[low] = min(seen), max(seen)

    def _root(self, at: int) -> int:
        while self._parent[at] != at:
            self._parent[at] = self._parent[self._parent[at]]
            at = self._parent[at]
        return at

    def members(self) -> list[tuple[list[int], tuple[float, float]]]:
        """Each group of at least two: the numbers, and the lowest and highest similarity that joined two of them."""
        groups: dict[int, list[int]] = {root: [] for root in self._alike}
        for at in range(len(self._parent)):
            if (root := self._root(at)) in groups:
                groups[root].append(at)
        return [(group, self._alike[root]) for root, group in groups.items()]


def grams(text: str) -> set[str]:
    """The character trigrams of a text; a shorter text is one by itself."""
    return {text[at : at + _GRAM] for at in range(max(1, len(text) - _GRAM + 1))}
