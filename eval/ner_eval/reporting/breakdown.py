"""F1 by length and by how often the surface occurs in training (protocol span).

A hit has the surface of its gold mention, so gold and predicted mentions fall into groups independently, and the
groups' counts add up to the whole.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from ner_eval.metrics.counts import Counts
from ner_eval.reporting.mention_errors import CORRECT, Pair

SENTENCE_LENGTHS = (10, 20, 30, 40, 50, 100)
MENTION_LENGTHS = (1, 2, 3, 4, 6, 10)
# A surface with at most this many occurrences in training is rare.
RARE = 3
FREQUENCIES = ("unseen", "rare", "common")


def interval_names(edges: Sequence[int]) -> list[str]:
    """Names of the groups defined by inclusive upper edges: 1-10, 11-20, …, 101+."""
    lows = [1, *(edge + 1 for edge in edges)]
    names = [str(low) if low == high else f"{low}-{high}" for low, high in zip(lows, edges, strict=False)]
    return [*names, f"{lows[-1]}+"]


def by_sentence_length(sentences: Iterable[tuple[str, list[Pair]]]) -> dict[str, Counts]:
    """Counts by the number of characters of the sentence; sentences are (text, pairs)."""
    counts: dict[str, Counts] = defaultdict(Counts)
    for text, pairs in sentences:
        counts[_interval(len(text), SENTENCE_LENGTHS)] += _count(pairs)
    return _in_order(counts, interval_names(SENTENCE_LENGTHS))


def by_mention_length(pairs: Iterable[Pair]) -> dict[str, Counts]:
    """Counts by the number of characters of the mention."""
    return _in_order(
        _by_surface(pairs, lambda surface: _interval(max(1, len(surface)), MENTION_LENGTHS)),
        interval_names(MENTION_LENGTHS),
    )


def by_frequency(pairs: Iterable[Pair], training: Counter[str]) -> dict[str, Counts]:
    """Counts by how many mentions of the training split have the surface: none, up to `RARE`, more."""

    def group(surface: str) -> str:
        seen = training[surface]
        return FREQUENCIES[0 if not seen else 1 if seen <= RARE else 2]

    return _in_order(_by_surface(pairs, group), FREQUENCIES)


def _interval(value: int, edges: Sequence[int]) -> str:
    return interval_names(edges)[sum(value > edge for edge in edges)]


def _in_order(counts: dict[str, Counts], names: Sequence[str]) -> dict[str, Counts]:
    return {name: counts[name] for name in names if counts.get(name, Counts()) != Counts()}


def _count(pairs: Iterable[Pair]) -> Counts:
    total = Counts()
    for pair in pairs:
        hit = pair.kind == CORRECT
        total += Counts(int(hit), int(pair.predicted is not None and not hit), int(pair.gold is not None and not hit))
    return total


def _by_surface(pairs: Iterable[Pair], group: Callable[[str], str]) -> dict[str, Counts]:
    counts: dict[str, Counts] = defaultdict(Counts)
    for pair in pairs:
        hit = pair.kind == CORRECT
        if pair.gold is not None:
            counts[group(pair.gold.text)] += Counts(tp=int(hit), fn=int(not hit))
        if pair.predicted is not None and not hit:
            counts[group(pair.predicted.text)] += Counts(fp=1)
    return counts
