"""Near-duplicate texts: groups of texts of which each shares most of its character pairs with another one.

Similarity is the Jaccard index of two texts' sets of character bigrams: 0.76 for these two titles::

    柴枳平肝汤治疗功能性消化不良肝胃不和证的临床观察
    目的：观察柴枳平肝汤治疗功能性消化不良肝胃不和证的临床疗效

Candidates come from MinHash with banded locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman, Ullman: Mining
of Massive Datasets, chapter 3), and are then compared exactly.
"""

import unicodedata
from collections.abc import Sequence

from ner_common.errors import UserError

SIMILAR = 0.7  # where pairs of CLUENER and TCM sentences stop being versions of one another
_HASHES = 128
_FOUND = 0.999  # of the pairs at the threshold are candidates; of more similar ones, more
_SEED = 0


def groups(texts: Sequence[str], threshold: float = SIMILAR) -> list[int]:
    """The group of each text: the position of the group's first text.

    Two texts are in one group if they are at least ``threshold`` similar, or if others connect them. Width and case of
    letters and white space make no difference.

    Args:
        texts: any number; memory grows with it, and time too, unless very many are similar to each other.
        threshold: above 0, at most 1. With 1 only texts of the same bigrams are in one group.

    Raises:
        UserError: rensa is not installed.
    """
    try:
        from rensa import RMinHash, RMinHashLSH
    except ImportError:
        raise UserError("near-duplicates need the package rensa, which is not installed here; use .venv") from None
    from tqdm import tqdm

    numbers: dict[frozenset[str], int] = {}
    of_text = [numbers.setdefault(bigrams(text), len(numbers)) for text in texts]
    sets = list(numbers)
    joined = _Groups(sets, threshold)
    if threshold < 1:
        hashes = RMinHash.from_token_sets(map(list, sets), num_perm=_HASHES, seed=_SEED)
        index = RMinHashLSH(threshold=threshold, num_perm=_HASHES, num_bands=_bands(threshold))
        for number in tqdm(range(len(sets)), desc="near-duplicates", unit="text", delay=2):
            joined.join_similar(number, index.query(hashes[number]))
            index.insert(number, hashes[number])
    first: dict[int, int] = {}
    return [first.setdefault(joined.of(number), position) for position, number in enumerate(of_text)]


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


class _Groups:
    """Groups of numbered sets, each at first alone."""

    def __init__(self, sets: Sequence[frozenset[str]], threshold: float) -> None:
        import numpy as np

        self._sets = sets
        self._threshold = threshold
        self._group = np.arange(len(sets))
        self._members = [[number] for number in range(len(sets))]

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
                if similarity(self._sets[number], self._sets[other]) >= self._threshold:
                    self._join(self.of(number), self.of(other))
                    break
            left = left[compared:]

    def _join(self, one: int, other: int) -> None:
        small, large = sorted((one, other), key=lambda group: len(self._members[group]))
        self._group[self._members[small]] = large
        self._members[large] += self._members[small]
        self._members[small] = []
