"""What a run's scores are worth: the data of the report's section, and the lines of `ner-eval score`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ner_eval.confidence.curves import Judged, Point, area, calibration_error, curve, reliability
from ner_eval.metrics.judged import JudgedRun

POINTS = 200  # of a curve that are drawn


def confidence(run: JudgedRun) -> dict[str, Any]:
    """The report's data: reliability, calibration error, and what is kept from which score on.

    The curve is that of one threshold for all labels. ``cut`` is what is kept and lost; None if all is kept.
    """
    judged, kept = run.judged, run.kept
    points = curve(judged, run.gold)
    calibrated = run.trust.calibration
    return {
        "entities": len(judged),
        "right": sum(one.right for one in judged),
        "gold": run.gold,
        "unscored": run.unscored,
        "calibrated": {"method": calibrated.method, "entities": len(calibrated.entities)} if calibrated else None,
        "error": calibration_error(judged),
        "error_raw": calibration_error(run.raw) if calibrated else None,
        "area": area(points),
        "bins": [asdict(one) for one in reliability(judged)],
        "curve": [[point.threshold, point.precision, point.recall] for point in _fewer(points)],
        "all": _kept(judged, run.gold),
        "cut": _cut(run, judged, kept) if run.cuts else None,
    }


def _cut(run: JudgedRun, judged: Sequence[Judged], kept: Sequence[Judged]) -> dict[str, Any]:
    right = sum(one.right for one in kept)
    return {
        "threshold": run.trust.threshold,
        "by_label": dict(run.trust.by_label),
        "kept": _kept(kept, run.gold),
        "lost_right": sum(one.right for one in judged) - right,
        "lost_wrong": len(judged) - sum(one.right for one in judged) - (len(kept) - right),
    }


def _kept(judged: Sequence[Judged], gold: int) -> dict[str, Any]:
    right = sum(one.right for one in judged)
    point = Point(0.0, right / len(judged) if judged else 0.0, right / gold if gold else 0.0)
    return {"entities": len(judged), "precision": point.precision, "recall": point.recall, "f1": point.f1}


def _fewer(points: Sequence[Point]) -> list[Point]:
    """At most `POINTS` of a curve, the first and the last among them."""
    if len(points) <= POINTS:
        return list(points)
    return [points[round(number * (len(points) - 1) / (POINTS - 1))] for number in range(POINTS)]


def describe_confidence(run: JudgedRun) -> Iterator[str]:
    """The lines that `ner-eval score` prints of a run with scores."""
    data = confidence(run)
    known = f"calibrated ({data['calibrated']['method']})" if data["calibrated"] else "not calibrated"
    raw = "" if data["error_raw"] is None else f" ({data['error_raw']:.4f} before calibration)"
    yield f"scores of {data['entities']} entities, {known}, by label and position:"
    if data["error"] is not None:
        yield f"expected calibration error {data['error']:.4f}{raw}"
        yield f"area under the precision-recall curve {data['area']:.4f}"
    if data["unscored"]:
        yield f"WITHOUT SCORES: the tokens of {data['unscored']} answers do not add up to them; they are left out here"
    if cut := data["cut"]:
        labels = "".join(f", {label} {value:.4f}" for label, value in cut["by_label"].items())
        lost = f"lost: {cut['lost_right']} right ones and {cut['lost_wrong']} wrong ones"
        yield f"kept from a score of {cut['threshold']:.4f}{labels}; {lost}"
        for name, figures in (("all", data["all"]), ("kept", cut["kept"])):
            shown = ", ".join(f"{key} {figures[key]:.4f}" for key in ("precision", "recall", "f1"))
            yield f"{name} ({figures['entities']}): {shown}"
