"""What scores are worth: reliability, calibration error, precision and recall of entities that are known to be right
or wrong.

An entity is right if gold has it with the same label at the same place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

BINS = 10


class Judged(NamedTuple):
    """An entity that a model named: its label, its score and whether it is right."""

    label: str
    score: float
    right: bool


@dataclass(frozen=True, slots=True)
class Bin:
    """The entities with scores from ``low`` to ``high``: their number, mean score and share of right ones."""

    low: float
    high: float
    count: int
    score: float
    right: float


@dataclass(frozen=True, slots=True)
class Point:
    """What is kept from a score of ``threshold`` on: of it, ``precision`` is right; of gold, ``recall`` is found."""

    threshold: float
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def reliability(judged: Iterable[Judged], bins: int = BINS) -> list[Bin]:
    """Bins of equal width over the scores 0 to 1 (the last one includes 1), without the empty ones."""
    found: list[list[Judged]] = [[] for _ in range(bins)]
    for one in judged:
        found[min(int(one.score * bins), bins - 1)].append(one)
    return [
        Bin(
            number / bins,
            (number + 1) / bins,
            len(inside),
            sum(one.score for one in inside) / len(inside),
            sum(one.right for one in inside) / len(inside),
        )
        for number, inside in enumerate(found)
        if inside
    ]


def calibration_error(judged: Sequence[Judged], bins: int = BINS) -> float | None:
    """Expected calibration error, ``sum over bins of n/N * |share right - mean score|``; None without entities.

    Source: Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015;
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (equal widths).
    """
    if not judged:
        return None
    return sum(one.count * abs(one.right - one.score) for one in reliability(judged, bins)) / len(judged)


def curve(judged: Iterable[Judged], gold: int) -> list[Point]:
    """A point for each score that occurs, from the highest down; entities of equal scores are kept together.

    Args:
        gold: the number of gold entities, those that the model did not name among them: recall is the share of these.
    """
    points = []
    kept = right = 0
    ordered = sorted(judged, key=lambda one: -one.score)
    for score, equal in groupby(ordered, key=lambda one: one.score):
        for one in equal:
            kept += 1
            right += one.right
        points.append(Point(score, right / kept, right / gold if gold else 0.0))
    return points


def area(points: Sequence[Point]) -> float:
    """Area under the precision-recall curve as average precision, ``sum of (R_n - R_(n-1)) * P_n``.

    No straight lines between points, which are too optimistic (Davis and Goadrich, ICML 2006); scikit-learn's
    ``average_precision_score`` is the same. Recall ends at the share of gold that the model names at all, so the area
    is at most that.
    """
    found = [0.0, *(point.recall for point in points)]
    return sum((now - before) * point.precision for before, now, point in zip(found, found[1:], points, strict=False))


def at(points: Sequence[Point], threshold: float) -> Point:
    """What is kept with a threshold: the last point of a curve whose score reaches it."""
    kept = [point for point in points if point.threshold >= threshold]
    return Point(threshold, kept[-1].precision, kept[-1].recall) if kept else Point(threshold, 0.0, 0.0)


def threshold_of(judged: Iterable[Judged], precision: float) -> float | None:
    """The lowest score from which on at least this share is right, so most is kept; None if no score reaches it."""
    reached = [point.threshold for point in curve(judged, 0) if point.precision >= precision]
    return reached[-1] if reached else None
