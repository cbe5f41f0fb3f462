"""Which entities are kept: calibrated scores against a threshold, one for all labels or one for each."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ner_common.adapters import CALIBRATION
from ner_common.errors import UserError, one_line, rooted
from ner_common.fingerprints import weights_fingerprint
from ner_eval.confidence.calibration import Calibration, load
from ner_eval.confidence.curves import Judged, curve, threshold_of

FEW = 20  # held-out entities of a label; with fewer it gets the threshold of all


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user wants kept: entities from a score on, or so that this share is right; None: all of them.

    ``samples``: scores are the votes of this many answers drawn at random, not log-probabilities.

    Raises:
        ValueError: a number is out of its range, or two of them contradict each other.
    """

    threshold: float | None = None
    precision: float | None = None
    per_label: bool = False
    samples: int = 0

    def __post_init__(self) -> None:
        if self.threshold is not None and not _is_share(self.threshold):
            raise ValueError(f"threshold must be a score from 0 to 1, not {one_line(self.threshold)}")
        if self.precision is not None and not (_is_share(self.precision) and self.precision):
            raise ValueError(f"precision must be above 0 and up to 1, not {one_line(self.precision)}")
        if self.threshold is not None and self.precision is not None:
            raise ValueError("threshold and precision both say what is kept; give one of them")
        if self.per_label and self.precision is None:
            raise ValueError("per_label chooses a threshold for each label, for a precision; give the precision")
        if self.samples and self.precision is not None:
            raise ValueError("precision needs calibrated scores, and votes are not; leave out --samples")

    @property
    def cuts(self) -> bool:
        """Whether some entities may be left out."""
        return self.threshold is not None or self.precision is not None

    def __bool__(self) -> bool:
        return self.cuts or self.samples > 0


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


@dataclass(frozen=True, slots=True)
class Trust:
    """How scores are computed and calibrated, and from which one on entities are kept; ``samples`` as in `Wanted`."""

    calibration: Calibration | None = None
    threshold: float = 0.0
    by_label: Mapping[str, float] = field(default_factory=dict)
    samples: int = 0

    def score(self, raw: float) -> float:
        return self.calibration.apply(raw) if self.calibration else raw

    def keeps(self, label: str, score: float) -> bool:
        return score >= self.by_label.get(label, self.threshold)

    def __str__(self) -> str:
        """What tells one from another, as stored in the manifest of an output file."""
        known = self.calibration.signature() if self.calibration else "not calibrated"
        known = f"votes of {self.samples}" if self.samples else known
        labels = "".join(f", {label} {value:.6f}" for label, value in sorted(self.by_label.items()))
        return f"{known}, from {self.threshold:.6f}{labels}"


def trust_in(
    folder: Path | None,
    prompt: str,
    wanted: Wanted | None = None,
    *,
    structured: str = "off",
    weights: str | None = None,
) -> Trust:
    """How far a model's scores can be trusted, by the calibration in its folder if there is one; says so once.

    Args:
        folder: the model's or adapter's folder, if it can be read here.
        prompt: the fingerprint of the prompt that is asked with.
        weights: the fingerprint of the weights that were asked, if not those that are in the folder now.

    Raises:
        UserError: the calibration does not fit (`ner_eval.confidence.calibration.load`), there is none to choose a
            threshold by, or none reaches the precision.
    """
    wanted = wanted or Wanted()
    if wanted.samples:  # the calibration is of log-probabilities
        return Trust(None, wanted.threshold or 0.0, samples=wanted.samples)
    calibration = load(folder, prompt, weights or weights_fingerprint(folder))
    if calibration:
        other = "" if calibration.structured == structured else f", though with --structured {calibration.structured}"
        _note(f"scores are calibrated on {len(calibration.entities)} held-out entities{other} ({_where(folder)})")
    elif wanted.precision is not None:
        remedy = "run `ner-eval calibrate` on its folder first, or give a --threshold"
        raise UserError(
            f"--precision {wanted.precision}: the model has no {CALIBRATION} to choose a threshold by; {remedy}"
        )
    if calibration is None or wanted.precision is None:
        return Trust(calibration, wanted.threshold or 0.0)
    return _for_precision(calibration, wanted.precision, wanted.per_label)


def _for_precision(calibration: Calibration, precision: float, per_label: bool) -> Trust:
    judged = calibration.calibrated
    overall = _chosen(judged, precision, "all labels")
    groups: dict[str, list[Judged]] = {}
    for one in judged:
        groups.setdefault(one.label, []).append(one)
    enough = {label: group for label, group in sorted(groups.items()) if len(group) >= FEW} if per_label else {}
    by_label = {label: _chosen(group, precision, label) for label, group in enough.items()}
    shown = "".join(f", {label} {value:.4f}" for label, value in by_label.items())
    _note(f"threshold for a precision of {precision} on the held-out records: {overall:.4f}{shown}")
    if few := [label for label in sorted(groups) if label not in by_label] if per_label else []:
        _note(f"fewer than {FEW} held-out entities, so the threshold of all labels: {', '.join(few)}")
    return Trust(calibration, overall, by_label)


def _chosen(judged: list[Judged], precision: float, which: str) -> float:
    if (found := threshold_of(judged, precision)) is not None:
        return found
    best = max(point.precision for point in curve(judged, 0))
    remedy = "give a lower --precision, or a --threshold"
    raise UserError(f"--precision {precision}: no threshold reaches it for {which} (at most {best:.4f}); {remedy}")


def _where(folder: Path | None) -> str:
    return rooted(folder / CALIBRATION) if folder else CALIBRATION


@cache
def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)
