"""Near-duplicate texts: groups of texts of which each shares most of its character pairs with another one.

Similarity is the Jaccard index of two texts' sets of character bigrams: 0.76 for these two titles::

    柴枳平肝汤治疗功能性消化不良肝胃不和证的临床观察
    目的：观察柴枳平肝汤治疗功能性消化不良肝胃不和证的临床疗效

Candidates come from MinHash with banded locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman, Ullman: Mining
of Massive Datasets, chapter 3), and are then compared exactly.
"""

import unicodedata
from collections.abc import Sequence

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
    """
    from rensa import RMinHash, RMinHashLSH
    from tqdm import tqdm

    root = list(range(len(texts)))
    first: dict[frozenset[str], int] = {}
    for position, text in enumerate(texts):
        root[position] = first.setdefault(bigrams(text), position)
    if threshold >= 1:
        return root
    sets = list(first)
    hashes = RMinHash.from_token_sets(map(list, sets), num_perm=_HASHES, seed=_SEED)
    index = RMinHashLSH(threshold=threshold, num_perm=_HASHES, num_bands=_bands(threshold))
    compared = tqdm(first.items(), desc="near-duplicates", unit="text", delay=2)
    for number, (own, place) in enumerate(compared):
        here = _root(root, place)
        for other in index.query(hashes[number]):
            there = _root(root, first[sets[other]])
            if here != there and similarity(own, sets[other]) >= threshold:
                here, there = sorted((here, there))
                root[there] = here
        index.insert(number, hashes[number])
    return [_root(root, position) for position in range(len(texts))]


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


def _root(root: list[int], position: int) -> int:
    while root[position] != position:
        root[position] = root[root[position]]
        position = root[position]
    return position
