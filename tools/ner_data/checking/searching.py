"""The second pass over a gold file: where known surfaces are left unannotated, and where watched mentions are.

The texts of a piece are one array of code points. Tables over the first two or three characters of all surfaces say
where one may start; only there the text is compared, with the longest surface first.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ner_common.parallel import in_order
from ner_data.checking.characters import codes_of
from ner_data.checking.mentions import inside_word, traits
from ner_data.checking.report import PLACES
from ner_data.checking.scanning import Spot
from ner_data.gold import Entity, Record, pieces, records_of

_BITS = 20  # of the slots of a table; in a full one, every position would be compared


class Index:
    """Surfaces of at least two characters, by their first two; and the mentions to note."""

    def __init__(self, surfaces: Iterable[str], watched: set[tuple[str, str]], labels: set[str]) -> None:
        """Watch the (surface, label) pairs ``watched``, and all mentions of ``labels``."""
        self.watched, self.labels = watched, labels
        self.watched_surfaces = {surface for surface, _ in watched}
        self.surfaces = {surface for surface in surfaces if len(surface) > 1}
        lengths: dict[str, set[int]] = defaultdict(set)
        for surface in self.surfaces:
            lengths[surface[:2]].add(len(surface))
        self.lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}
        self._pairs = _table([surface for surface in self.surfaces if len(surface) == 2], 2)
        self._triples = _table([surface for surface in self.surfaces if len(surface) > 2], 3)

    def may_start(self, codes: Any) -> Any:
        """For each code point but the last: whether a surface may start there."""
        possible: Any = self._pairs[_slots(codes, 2)]
        possible[: len(codes) - 2] |= self._triples[_slots(codes, 3)]
        return possible


def _table(surfaces: list[str], characters: int) -> Any:
    """Which slots the first characters of some surfaces fall into."""
    import numpy as np

    table = np.zeros(1 << _BITS, bool)
    for surface in surfaces:
        table[_slots(np.array([ord(char) for char in surface[:characters]], np.uint32), characters)] = True
    return table


def _slots(codes: Any, characters: int) -> Any:
    """A hash of each run of so many code points."""
    last = len(codes) - characters + 1
    mixed = codes[:last] * 0x9E3779B1
    for at in range(1, characters):
        mixed = (mixed ^ codes[at : last + at]) * 0x9E3779B1
    return mixed >> (32 - _BITS)


@dataclass(slots=True)
class Hits:
    """What was found: how often and where each surface is unannotated, and where watched mentions are.

    ``watched`` has (surface, label) as keys, ("", label) for a label as a whole.
    """

    free: Counter[str] = field(default_factory=Counter)
    spots: dict[str, list[Spot]] = field(default_factory=lambda: defaultdict(list))
    watched: dict[tuple[str, str], list[Spot]] = field(default_factory=lambda: defaultdict(list))

    def add(self, other: "Hits", base: int) -> None:
        """Add what was found in the records that follow, the first of which is number ``base``."""
        self.free.update(other.free)
        pairs: tuple[tuple[Any, Any], ...] = ((self.spots, other.spots), (self.watched, other.watched))
        for mine, theirs in pairs:
            for key, spots in theirs.items():
                room = PLACES - len(mine[key])
                mine[key].extend((number + base, start, end) for number, start, end in spots[:room])


_index: Index


def _use(index: Index) -> None:
    global _index
    _index = index


def search(path: Path, index: Index, workers: int, tick: Callable[[int], object]) -> Hits:
    """Search a gold file that `scan` has read."""
    hits, base = Hits(), 0
    for size, records, part in in_order(partial(_searched, path), pieces(path), workers, _use, index):
        hits.add(part, base)
        base += records
        tick(size)
    return hits


def _searched(path: Path, piece: tuple[int, int]) -> tuple[int, int, Hits]:
    hits = Hits()
    records = records_of(path, piece)
    known = [(number, one) for number, one in enumerate(records) if one.entities is not None]
    for number, record in known:
        _watch(hits, number, record.entities or ())
    if known and _index.lengths:
        _find(hits, [number for number, _ in known], [one for _, one in known])
    return piece[1], len(records), hits


def _watch(hits: Hits, number: int, entities: Iterable[Entity]) -> None:
    for entity in entities:
        if entity.text not in _index.watched_surfaces and entity.label not in _index.labels:
            continue
        keys = []
        if entity.text in _index.watched_surfaces and (entity.text, entity.label) in _index.watched:
            keys.append((entity.text, entity.label))
        if entity.label in _index.labels:
            keys.append(("", entity.label))
        for key in keys:
            if len(spots := hits.watched[key]) < PLACES:
                spots.append((number, entity.start, entity.end))


def _find(hits: Hits, numbers: list[int], records: list[Record]) -> None:
    import numpy as np

    texts = [record.text for record in records]
    codes, starts = codes_of(texts)
    spans = [
        (start + entity.start, start + entity.end)
        for start, one in zip(starts.tolist(), records, strict=False)
        for entity in one.entities or ()
    ]
    ends = np.array(spans, np.int64).reshape(-1, 2)
    size = len(codes) + 1
    opened = np.bincount(ends[:, 0], minlength=size) - np.bincount(ends[:, 1], minlength=size)
    taken = np.cumsum(opened)[:-1] > 0  # the characters of mentions
    before: Any = np.zeros(size, np.int64)  # how many of those come before a position
    np.cumsum(taken, out=before[1:])
    taken_before = memoryview(before)  # faster than an array, one by one
    possible = _index.may_start(codes) & ~taken[:-1] & ~taken[1:]
    joined, limits = "".join(texts), starts.tolist()
    surfaces, lengths, free = _index.surfaces, _index.lengths, 0
    for at in np.flatnonzero(possible).tolist():
        if at < free:
            continue
        for length in lengths.get(joined[at : at + 2], ()):
            surface = joined[at : at + length]
            if len(surface) < length or surface not in surfaces or taken_before[at + length] > taken_before[at]:
                continue
            row = bisect_right(limits, at) - 1
            start = at - limits[row]
            if at + length > limits[row + 1]:
                continue
            if traits(surface).word and inside_word(texts[row], start, start + length):
                continue
            hits.free[surface] += 1
            if len(hits.spots[surface]) < PLACES:
                hits.spots[surface].append((numbers[row], start, start + length))
            free = at + length
            break
