"""Calibrations: what is learned, stored, applied without scikit-learn, and refused."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sklearn.isotonic import IsotonicRegression

from ner_common.adapters import CALIBRATION
from ner_common.errors import UserError
from ner_eval.confidence.calibration import Calibration, load, save
from ner_eval.confidence.curves import Judged, calibration_error
from ner_eval.confidence.fitting import fit
from ner_eval.confidence.trust import Trust, Wanted, trust_in

PROMPT, WEIGHTS = "0123456789abcdef", "fedcba9876543210"
KNOWN = {"corpus": "demo", "prompt": PROMPT, "weights": WEIGHTS, "structured": "off"}


def judged(count: int = 400, seed: int = 0) -> list[Judged]:
    """Entities of an overconfident model: with a score of s, a share of s squared is right."""
    rng = random.Random(seed)
    return [
        Judged(rng.choice(["name", "company"]), score := rng.random(), rng.random() < score**2) for _ in range(count)
    ]


@cache
def made(method: str | None = None, count: int = 400) -> Calibration:
    return fit(judged(count), [n // 2 for n in range(count)], method=method, **KNOWN)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_lowers_the_error_on_other_entities(method: str) -> None:
    calibration = made(method, 2000)
    others = judged(2000, seed=9)
    after = calibration_error([one._replace(score=calibration.apply(one.score)) for one in others])
    before = calibration_error(others)
    assert before and after and after < before / 2
    assert calibration.error_before > 0.1 > 2 * calibration.error_after


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_higher_score_never_becomes_a_lower_one(method: str) -> None:
    calibration = made(method)
    values = [calibration.apply(n / 1000) for n in range(1001)]
    assert values == sorted(values) and 0 <= values[0] < values[-1] <= 1


def test_isotonic_is_applied_as_scikit_learn_does() -> None:
    entities = judged()
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    model.fit([one.score for one in entities], [one.right for one in entities])
    inputs = [n / 997 for n in range(998)]
    assert [made("isotonic").apply(value) for value in inputs] == pytest.approx(model.predict(inputs).tolist())


def test_many_entities_are_calibrated_by_isotonic_regression_few_by_platt() -> None:
    assert (made(None, 999).method, made(None, 1000).method) == ("platt", "isotonic")


def test_the_error_afterwards_is_that_of_records_not_learned_from() -> None:
    noise = [Judged("a", n / 60, n % 3 > 0) for n in range(60)]
    calibration = fit(noise, list(range(60)), method="isotonic", **KNOWN)
    assert calibration.error_after > (calibration_error(calibration.calibrated) or 0) + 0.02


@pytest.mark.parametrize(
    ("entities", "problem"),
    [
        (judged(49), "are too few to calibrate: 50 are needed"),
        (
            [Judged("a", 0.5, True)] * 96 + [Judged("a", 0.5, False)] * 4,
            "100 entities (96 right, 4 wrong) are too few",
        ),
        ([], "0 entities"),
        ([Judged("a", 0.9, False)] * 40 + [Judged("a", 0.1, True)] * 40, "scores say nothing"),
        ([Judged("a", 0.9, n % 3 > 0) for n in range(1200)], "scores say nothing"),
    ],
)
@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_too_little_to_learn_from_is_refused(entities: list[Judged], problem: str, method: str) -> None:
    with pytest.raises(UserError, match=problem.replace("(", r"\(").replace(")", r"\)")):
        fit(entities, list(range(len(entities))), method=method, **KNOWN)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_what_is_stored_is_read_back(tmp_path: Path, method: str) -> None:
    calibration = made(method)
    save(tmp_path, calibration)
    found = load(tmp_path, PROMPT, WEIGHTS)
    assert found is not None and found.signature() == calibration.signature()
    assert found.apply(0.37) == calibration.apply(0.37)
    assert (
        load(tmp_path, PROMPT, None)
        and load(tmp_path / "other", PROMPT, None) is None
        and load(None, "", None) is None
    )


def edited(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda value: value | changes


DAMAGED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "an entity flipped": (
        lambda v: v | {"entities": [[a, b, not c] for a, b, c in v["entities"]]},
        "was edited by hand",
    ),
    "another slope": (edited(line=[2.0, 0.0]), "was edited by hand"),
    "no checksum": (edited(checksum=""), "was edited by hand"),
    "too few": (lambda v: v | {"entities": v["entities"][:20]}, "too few to calibrate"),
    "a score above 1": (edited(entities=[["name", 2, True]] * 100), "entities"),
    "falling": (edited(line=[-1.0, 0.0]), "has no platt calibration"),
    "no line": (edited(line=None), "has no platt calibration"),
    "knots that fall": (edited(method="isotonic", line=None, knots=[[0, 1], [1, 0]]), "has no isotonic calibration"),
    "another version": (edited(version=2), "version"),
    "unknown field": (edited(more=1), "more"),
    "a list": (lambda v: [], "ner_calibration.json"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_or_edited_file_is_refused_in_one_line(tmp_path: Path, how: str) -> None:
    path = save(tmp_path, made("platt"))
    change, problem = DAMAGED[how]
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UserError) as refused:
        load(tmp_path, PROMPT, WEIGHTS)
    assert problem in str(refused.value) and CALIBRATION in str(refused.value) and "\n" not in str(refused.value)
    assert "calibrate again" in str(refused.value)


def test_another_prompt_or_other_weights_are_refused(tmp_path: Path) -> None:
    save(tmp_path, made("platt"))
    with pytest.raises(UserError, match="was made with another prompt"):
        load(tmp_path, "f" * 16, WEIGHTS)
    with pytest.raises(UserError, match="was made for other weights"):
        load(tmp_path, PROMPT, "f" * 16)


def test_a_threshold_for_a_precision_comes_from_the_held_out_entities(tmp_path: Path, capsys) -> None:
    save(tmp_path, made("isotonic", 2000))
    trust = trust_in(tmp_path, PROMPT, Wanted(precision=0.8), weights=WEIGHTS)
    kept = [one for one in made("isotonic", 2000).calibrated if trust.keeps(one.label, one.score)]
    assert sum(one.right for one in kept) / len(kept) >= 0.8 and 100 < len(kept) < 1500
    each = trust_in(tmp_path, PROMPT, Wanted(precision=0.8, per_label=True), weights=WEIGHTS)
    assert each.by_label.keys() == {"name", "company"} and each.threshold == trust.threshold
    for label in each.by_label:
        kept = [
            one for one in made("isotonic", 2000).calibrated if one.label == label and each.keeps(label, one.score)
        ]
        assert sum(one.right for one in kept) / len(kept) >= 0.8
    assert capsys.readouterr().err.count("scores are calibrated on 2000 held-out entities") <= 1


def test_rare_labels_get_the_threshold_of_all_and_an_unreachable_precision_is_refused(tmp_path: Path, capsys) -> None:
    entities = [*judged(400), *[Judged("rare", 0.9, True)] * 19]
    save(tmp_path, fit(entities, list(range(419)), method="platt", **KNOWN))
    trust = trust_in(tmp_path, PROMPT, Wanted(precision=0.7, per_label=True), weights=WEIGHTS)
    assert "rare" not in trust.by_label and trust.keeps("rare", trust.threshold)
    assert "fewer than 20 held-out entities, so the threshold of all labels: rare" in capsys.readouterr().err
    never = [Judged("a", n / 100, n > 50 and n % 2 == 0) for n in range(99)] + [Judged("a", 1.0, False)] * 20
    save(tmp_path, fit(never, list(range(119)), method="isotonic", **KNOWN))
    with pytest.raises(UserError, match="no threshold reaches it for all labels"):
        trust_in(tmp_path, PROMPT, Wanted(precision=0.99), weights=WEIGHTS)


def test_two_ways_to_trust_are_told_apart() -> None:
    ways = [Trust(), Trust(threshold=0.5), Trust(made("platt")), Trust(made("platt"), 0.5, {"name": 0.7})]
    assert len({str(way) for way in ways}) == len(ways)
    assert replace(ways[0]).keeps("any", 0.0)
