"""Texts that are nearly the same: MinHash with banding finds candidates, their exact similarity decides.

The similarity of two texts is Jaccard's: of the sets of their character trigrams, the share of the common ones in all
(Broder, "On the resemblance and containment of documents", 1997). With `PERMUTATIONS` in `BANDS`, two texts of
similarity s become candidates with probability 1 - (1 - s^6)^21: 0.998 at 0.8.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from ner_common.parallel import chunks
from ner_data.checking.places import Places
from ner_data.checking.report import MOST, PLACES, Finding, Found
from ner_data.checking.scanning import pieces, read_piece, read_sentences
from ner_data.checking.texts import Texts

THRESHOLD = 0.8
AUTOMATIC = 200_000  # distinct texts up to which they are searched unasked
_GRAM = 3
PERMUTATIONS, BANDS = 126, 21
_SEED = 42
_BATCH = 512
_CROWD = 50  # texts of a group that are compared with others: templates with thousands of copies would take forever


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
    found = Found()
    inside, across = 0, 0
    for one, other, _ in groups.pairs:
        alone = (texts.copies[:, texts.group[[rows[one], rows[other]]]] > 0).any(axis=1).sum() == 1
        inside, across = inside + bool(alone), across + (not alone)
    members = groups.members()
    found.count = len(members)
    found.figures = {"pairs": inside + across, "across": across, "groups": len(members), "threshold": THRESHOLD}
    if members:
        found.notes.append(
            f"{len(members):,} groups of texts whose trigrams agree to {THRESHOLD:.0%} or more: {inside:,} similar "
            f"pairs inside a split, {across:,} across splits"
        )
    ranked = []
    for group, (least, most) in members:
        own = [rows[at] for at in group]
        splits = [texts.splits[at] for at in np.flatnonzero(texts.copies[:, texts.group[own]].sum(axis=1)).tolist()]
        ranked.append((-len(splits), -len(own), own, splits, least, most))
    for _, size, own, splits, least, most in sorted(ranked, key=lambda one: one[:3])[:MOST]:
        alike = f"{least:.0%}" if f"{least:.0%}" == f"{most:.0%}" else f"{least:.0%} to {most:.0%}"
        where = tuple(places.at(split, (number, 0, 0)) for split, number in map(texts.spot, own[:PLACES]))
        detail = f"{-size:,} texts that agree to {alike}, in {' and '.join(splits)}"
        found.findings.append(Finding(where[0].text, detail, where, -size - len(where)))
    return found


def _distinct(texts: Texts, wanted: "object", paths: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """Each distinct text once, with the record that has it first."""
    row = 0
    for split in texts.splits:
        for start, size in pieces(paths[split]):
            for sentence in read_sentences(paths[split], start, read_piece(paths[split], start, size)):
                if wanted[row]:  # type: ignore[index]
                    yield row, sentence.text
                row += 1


class _Groups:
    """Similar texts by their numbers, joined as they come."""

    def __init__(self) -> None:
        from rensa import RMinHashLSH

        self.pairs: list[tuple[int, int, float]] = []
        self._parent: list[int] = []
        self._size: list[int] = []
        self._index = RMinHashLSH(THRESHOLD, PERMUTATIONS, BANDS)

    def add(self, known: list[str], batch: list[str]) -> None:
        """Compare texts with those that are known and with each other; then they are known too."""
        from rensa import RMinHash, RMinHashLSH

        base = len(known)
        known.extend(batch)
        self._parent.extend(range(base, len(known)))
        self._size.extend([1] * len(batch))
        sketches = RMinHash.from_token_sets([list(grams(text)) for text in batch], PERMUTATIONS, _SEED)
        own = RMinHashLSH(THRESHOLD, PERMUTATIONS, BANDS)
        own.insert_many(sketches, base)
        earlier, beside = self._index.query_all(sketches), own.query_all(sketches)
        for at, candidates in enumerate(zip(earlier, beside, strict=True), start=base):
            for other in sorted({*candidates[0], *candidates[1]}):
                if other < at and self._size[self._root(other)] <= _CROWD:
                    self._compare(known, other, at)
        indexed = [
            (at, sketch)
            for at, sketch in enumerate(sketches, start=base)
            if self._size[self._root(at)] <= _CROWD
        ]  # fmt: skip
        self._index.insert_pairs(indexed)

    def _compare(self, known: list[str], one: int, other: int) -> None:
        first, second = grams(known[one]), grams(known[other])
        common = len(first & second)
        if (alike := common / (len(first) + len(second) - common)) >= THRESHOLD:
            self.pairs.append((one, other, alike))
            low, high = sorted((self._root(one), self._root(other)))
            if low != high:
                self._parent[high] = low
                self._size[low] += self._size[high]

    def _root(self, at: int) -> int:
        while self._parent[at] != at:
            self._parent[at] = self._parent[self._parent[at]]
            at = self._parent[at]
        return at

    def members(self) -> list[tuple[list[int], tuple[float, float]]]:
        """Each group of at least two: the numbers, and the lowest and highest similarity of its pairs."""
        groups: dict[int, set[int]] = {}
        values: dict[int, list[float]] = {}
        for one, other, alike in self.pairs:
            root = self._root(one)
            groups.setdefault(root, set()).update((one, other))
            values.setdefault(root, []).append(alike)
        return [(sorted(group), (min(values[root]), max(values[root]))) for root, group in groups.items()]


def grams(text: str) -> set[str]:
    """The character trigrams of a text; a shorter text is one by itself."""
    return {text[at : at + _GRAM] for at in range(max(1, len(text) - _GRAM + 1))}
