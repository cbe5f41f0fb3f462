"""Near-duplicate texts: groups of texts of which each shares most of its character pairs with another one.

Similarity is the Jaccard index of two texts' sets of character bigrams: 0.76 for these two titles::

    柴枳平肝汤治疗功能性消化不良肝胃不和证的临床观察
    目的：观察柴枳平肝汤治疗功能性消化不良肝胃不和证的临床疗效

Candidates come from MinHash with banded locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman, Ullman: Mining
of Massive Datasets, chapter 3), and are then compared exactly.
"""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ner_common.errors import UserError

SIMILAR = 0.7  # where pairs of CLUENER and TCM sentences stop being versions of one another
_HASHES = 128
_FOUND = 0.999  # of the pairs at the threshold are candidates; of more similar ones, more
_SEED = 0
_BATCH = 512


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of similar texts.

    Attributes:
        of: the group of each text: the position of the group's first text.
        alike: for each group of several texts, the lowest and the highest similarity that joined two of them; 1 if
            they are the same.
    """

    of: list[int]
    alike: dict[int, tuple[float, float]]


def groups(texts: Iterable[str], threshold: float = SIMILAR, tick: Callable[[int], object] = lambda _: None) -> Groups:
    """Find the texts that are nearly the same.

    Two texts are in one group if they are at least ``threshold`` similar, or if others connect them. Width and case of
    letters and white space make no difference.

    Args:
        texts: any number; memory grows with it, and time too, unless very many are similar to each other.
        threshold: above 0, at most 1. With 1 only texts of the same bigrams are in one group.
        tick: called with a number of texts whenever so many have been compared.

    Raises:
        UserError: rensa is not installed.
    """
    try:
        from rensa import RMinHash, RMinHashLSH
    except ImportError:
        raise UserError("near-duplicates need the package rensa, which is not installed here; use .venv") from None

    numbers: dict[frozenset[str], int] = {}
    of_text = [numbers.setdefault(bigrams(text), len(numbers)) for text in texts]
    sets = list(numbers)
    joined = _Joined(sets, threshold)
    if threshold < 1:
        bands = _bands(threshold)
        index = RMinHashLSH(threshold=threshold, num_perm=_HASHES, num_bands=bands)
        for start in range(0, len(sets), _BATCH):
            batch = sets[start : start + _BATCH]
            hashes = RMinHash.from_token_sets(list(map(list, batch)), num_perm=_HASHES, seed=_SEED)
            index.insert_many(hashes, start)
            for number, candidates in enumerate(index.query_all(hashes), start):
                joined.join_similar(number, candidates)
            tick(len(batch))
    first: dict[int, int] = {}
    of = [first.setdefault(joined.of(number), position) for position, number in enumerate(of_text)]
    alike = {first[group]: found for group, found in joined.alike.items()}
    for position, group in enumerate(of):
        if position != group:
            alike.setdefault(group, (1.0, 1.0))
    return Groups(of, alike)


def bigrams(text: str) -> frozenset[str]:
    """The pairs of neighbouring characters of a text; the text itself if it has fewer than two."""
    plain = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    return frozenset(plain[at : at + 2] for at in range(max(1, len(plain) - 1)))


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """The Jaccard index of two sets that are not empty: 0 to 1."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def _bands(threshold: float) -> int:
    """The fewest bands, a power of two, for which `_FOUND` of the pairs at the threshold share one."""
    bands = 1
    while bands < _HASHES and 1 - (1 - threshold ** (_HASHES // bands)) ** bands < _FOUND:
        bands *= 2
    return bands


class _Joined:
    """Groups of numbered sets, each at first alone."""

    def __init__(self, sets: Sequence[frozenset[str]], threshold: float) -> None:
        import numpy as np

        self._sets = sets
        self._threshold = threshold
        self._group = np.arange(len(sets))
        self._members = [[number] for number in range(len(sets))]
        self.alike: dict[int, tuple[float, float]] = {}

    def of(self, number: int) -> int:
        return int(self._group[number])

    def join_similar(self, number: int, candidates: Sequence[int]) -> None:
        """Join the groups of a set and of those candidates that are similar to it.

        Those of its own group are not compared: with thousands of texts of one pattern, that is nearly all of them.
        """
        import numpy as np

        left = np.asarray(candidates, dtype=np.int64)
        while (left := left[self._group[left] != self._group[number]]).size:
            compared = 0
            for other in left.tolist():
                compared += 1
                alike = similarity(self._sets[number], self._sets[other])
                if alike >= self._threshold:
                    self._join(self.of(number), self.of(other), alike)
                    break
            left = left[compared:]

    def _join(self, one: int, other: int, alike: float) -> None:
        small, large = sorted((one, other), key=lambda group: len(self._members[group]))
        self._group[self._members[small]] = large
        self._members[large] += self._members[small]
        self._members[small] = []
        seen = [alike, *self.alike.pop(small, ()), *self.alike.get(large, ())]
        self.alike[large] = min(seen), max(seen)
