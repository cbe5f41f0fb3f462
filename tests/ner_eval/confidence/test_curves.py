"""Calibration error, reliability, curves: against counting by hand and scikit-learn."""

import random

import pytest
from sklearn.metrics import average_precision_score

from ner_eval.confidence.curves import Judged, area, at, calibration_error, curve, reliability, threshold_of

FOUR = [Judged("a", 0.95, True), Judged("a", 0.91, False), Judged("b", 0.2, True), Judged("b", 0.1, False)]


def test_the_error_is_the_weighted_distance_of_the_bins() -> None:
    # |0.5 - 0.93| of two, |1 - 0.2| of one and |0 - 0.1| of one: 0.2 and 0.1 begin bins of their own.
    assert calibration_error(FOUR) == pytest.approx((2 * 0.43 + 0.8 + 0.1) / 4)
    assert [(one.low, one.count, one.right) for one in reliability(FOUR)] == [
        (0.1, 1, 0.0),
        (0.2, 1, 1.0),
        (0.9, 2, 0.5),
    ]
    assert calibration_error([Judged("a", 1.0, True), Judged("a", 0.0, False)]) == 0
    assert calibration_error([]) is None


def test_a_curve_has_a_point_for_each_score_and_recall_is_of_all_gold() -> None:
    equal = [Judged("a", 0.9, True), Judged("a", 0.5, True), Judged("a", 0.5, False)]
    points = curve(equal, 4)
    assert [(p.threshold, p.precision, p.recall) for p in points] == [
        (0.9, 1.0, 0.25), (0.5, pytest.approx(2 / 3), 0.5),
    ]  # fmt: skip
    assert (at(points, 0.6).precision, at(points, 0.6).recall) == (1.0, 0.25)
    assert at(points, 0.95).recall == 0 and curve([], 4) == [] and area([]) == 0


def test_the_area_is_average_precision() -> None:
    rng = random.Random(1)
    judged = [Judged("a", round(score := rng.random(), 2), rng.random() < score) for _ in range(500)]
    right = sum(one.right for one in judged)
    wanted = average_precision_score([one.right for one in judged], [one.score for one in judged])
    assert area(curve(judged, right)) == pytest.approx(wanted)
    assert area(curve(judged, 2 * right)) == pytest.approx(wanted / 2)  # half of gold was not even named


def test_the_lowest_threshold_that_reaches_a_precision_is_chosen() -> None:
    judged = [Judged("a", 0.9, True), Judged("a", 0.8, False), Judged("a", 0.7, True), Judged("a", 0.6, True)]
    assert threshold_of(judged, 0.75) == 0.6
    assert threshold_of(judged, 0.8) == 0.9
    assert threshold_of([Judged("a", 0.9, False)], 0.5) is None
