"""Hits and misses, and the ratios derived from them. Only counts are stored: counts of parts add up to the whole."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0, le=1 << 53)]


def ratio(part: float, whole: float) -> float:
    """A quotient; division by zero is 0."""
    return part / whole if whole else 0.0


class Counts(Struct, frozen=True, forbid_unknown_fields=True):
    """Hits and misses of one label, or of several added up."""

    tp: Count = 0
    fp: Count = 0
    fn: Count = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


class ModeCounts(Struct, frozen=True, forbid_unknown_fields=True):
    """Outcomes of one of nervaluate's modes (see `ner_eval.metrics.modes`). A partial match counts one half."""

    correct: Count = 0
    incorrect: Count = 0
    partial: Count = 0
    missed: Count = 0
    spurious: Count = 0

    @property
    def precision(self) -> float:
        return ratio(self.correct + self.partial / 2, self.correct + self.incorrect + self.partial + self.spurious)

    @property
    def recall(self) -> float:
        return ratio(self.correct + self.partial / 2, self.correct + self.incorrect + self.partial + self.missed)

    @property
    def f1(self) -> float:
        return ratio(2 * self.precision * self.recall, self.precision + self.recall)


def micro(by_label: Mapping[str, Counts]) -> Counts:
    """All labels together, including those outside the set, whose mentions are false positives."""
    return sum(by_label.values(), Counts())


def macro(by_label: Mapping[str, Counts], labels: Iterable[str]) -> tuple[float, float, float]:
    """Mean precision, recall and F1 over the label set; a label with neither gold nor predictions counts as 0.

    Over the protocol text this is CLUENER's official score (``score.py`` of CLUEbenchmark/CLUENER2020, which fails on
    the division by zero).
    """
    rows = [by_label.get(label, Counts()) for label in labels]
    sums = (sum(getattr(row, name) for row in rows) for name in ("precision", "recall", "f1"))
    precision, recall, f1 = (ratio(total, len(rows)) for total in sums)
    return precision, recall, f1
