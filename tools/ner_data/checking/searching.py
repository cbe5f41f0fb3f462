"""The second pass over a gold file: where known surfaces are left unannotated, and where watched mentions are.

The texts of a piece are one array of code points. A table over the first two characters of all surfaces says where one
may start; only there the text is compared, with the longest surface first.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ner_common.parallel import in_order
from ner_data.checking.mentions import inside_word
from ner_data.checking.report import PLACES
from ner_data.checking.scanning import Sentence, Span, Spot, codes_of, pieces, read_piece, read_sentences

_BITS = 20  # of the table over two characters


class Index:
    """Surfaces of at least two characters, by their first two; and the mentions to note."""

    def __init__(self, surfaces: Iterable[str], watched: set[tuple[str, str]], labels: set[str]) -> None:
        """Watch the (surface, label) pairs ``watched``, and all mentions of ``labels``."""
        import numpy as np

        self.watched, self.labels = watched, labels
        self.watched_surfaces = {surface for surface, _ in watched}
        self.surfaces = {surface for surface in surfaces if len(surface) > 1}
        lengths: dict[str, set[int]] = defaultdict(set)
        for surface in self.surfaces:
            lengths[surface[:2]].add(len(surface))
        self.lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}
        self.table = np.zeros(1 << _BITS, bool)
        if self.lengths:
            pairs = np.array([(ord(start[0]), ord(start[1])) for start in self.lengths], np.uint32)
            self.table[_slot(pairs[:, 0], pairs[:, 1])] = True


def _slot(first: Any, second: Any) -> Any:
    return (first * 0x9E3779B1 + second * 0x85EBCA77 & 0xFFFFFFFF) >> (32 - _BITS)


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
    sentences = read_sentences(path, piece[0], read_piece(path, *piece))
    known = [(number, one) for number, one in enumerate(sentences) if one.entities is not None]
    for number, sentence in known:
        _watch(hits, number, sentence.entities or ())
    if known and _index.lengths:
        _find(hits, [number for number, _ in known], [one for _, one in known])
    return piece[1], len(sentences), hits


def _watch(hits: Hits, number: int, entities: Iterable[Span]) -> None:
    for entity in entities:
        keys = []
        if entity.text in _index.watched_surfaces and (entity.text, entity.label) in _index.watched:
            keys.append((entity.text, entity.label))
        if entity.label in _index.labels:
            keys.append(("", entity.label))
        for key in keys:
            if len(spots := hits.watched[key]) < PLACES:
                spots.append((number, entity.start, entity.end))


def _find(hits: Hits, numbers: list[int], sentences: list[Sentence]) -> None:
    import numpy as np

    texts = [sentence.text for sentence in sentences]
    codes, starts = codes_of(texts)
    spans = [
        (start + entity.start, start + entity.end)
        for start, one in zip(starts.tolist(), sentences, strict=False)
        for entity in one.entities or ()
    ]
    changes = np.zeros(len(codes) + 1, np.int32)
    if spans:
        ends = np.array(spans, np.int64)
        np.add.at(changes, ends[:, 0], 1)
        np.add.at(changes, ends[:, 1], -1)
    taken = np.cumsum(changes)[:-1] > 0  # the characters of mentions
    before = np.concatenate(([0], np.cumsum(taken))).tolist()  # how many of those come before a position
    possible = _index.table[_slot(codes[:-1], codes[1:])] & ~taken[:-1] & ~taken[1:]
    joined, limits = "".join(texts), starts.tolist()
    surfaces, lengths, free = _index.surfaces, _index.lengths, 0
    for at in np.flatnonzero(possible).tolist():
        if at < free:
            continue
        for length in lengths.get(joined[at : at + 2], ()):
            surface = joined[at : at + length]
            if len(surface) < length or surface not in surfaces or before[at + length] > before[at]:
                continue
            row = bisect_right(limits, at) - 1
            start = at - limits[row]
            if at + length > limits[row + 1] or inside_word(texts[row], start, start + length):
                continue
            hits.free[surface] += 1
            if len(hits.spots[surface]) < PLACES:
                hits.spots[surface].append((numbers[row], start, start + length))
            free = at + length
            break
