"""Calibration: from a model's own probabilities to the share of entities that are right at such a score.

`ner-eval calibrate` learns it from the records that a training held out, and stores it beside the adapter as
``ner_calibration.json``::

    {"version": 1, "corpus": "demo", "prompt": "…", "weights": "…", "structured": "off", "method": "platt",
     "line": [0.8, -0.3], "knots": [], "error_before": 0.08, "error_after": 0.03,
     "entities": [["name", 0.97, true], …], "checksum": "…"}

``entities`` are the held-out ones with their raw scores; thresholds for a wanted precision are chosen from them. The
calibrated score is computed from ``line`` or ``knots`` without scikit-learn:

- platt: ``sigmoid(slope * logit(score) + intercept)`` (Platt, Probabilistic Outputs for Support Vector Machines, 1999)
- isotonic: straight lines between the knots (Zadrozny and Elkan, KDD 2002)
"""

import hashlib
import json
from bisect import bisect_right
from collections import Counter
from math import exp, isfinite, log
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from ner_common.adapters import CALIBRATION
from ner_common.errors import UserError, rooted
from ner_common.files import read_json, write_json
from ner_eval.confidence.curves import Judged

AGAIN = "calibrate again with `ner-eval calibrate`, or remove the file"
METHODS = ("isotonic", "platt")
LEAST = 50  # entities to learn from
LEAST_EACH = 5  # right ones, and wrong ones
CLIP = 1e-6  # scores are kept this far from 0 and 1 in a logit
Share = Annotated[float, Meta(ge=0, le=1)]
Fingerprint = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]


class Calibration(Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds, see above. ``error_…``: expected calibration errors, the later one by cross-validation."""

    version: Literal[1]
    corpus: str
    prompt: Fingerprint
    weights: Fingerprint
    structured: str
    method: Literal["isotonic", "platt"]
    line: tuple[float, float] | None
    knots: tuple[tuple[Share, Share], ...]
    error_before: Share
    error_after: Share
    entities: tuple[tuple[str, Share, bool], ...]
    checksum: str = ""

    def __post_init__(self) -> None:
        if problem := too_little(self.judged):
            raise ValueError(problem)
        if self.method == "platt":
            fits = self.line is not None and all(map(isfinite, self.line)) and self.line[0] > 0 and not self.knots
        else:
            ordered = all(a <= b for one, other in zip(self.knots, self.knots[1:], strict=False)
                          for a, b in zip(one, other, strict=True))  # fmt: skip
            fits = self.line is None and len(self.knots) > 0 and ordered
        if not fits:
            raise ValueError(f"has no {self.method} calibration")

    @property
    def judged(self) -> list[Judged]:
        """The held-out entities with their raw scores."""
        return [Judged(*entity) for entity in self.entities]

    @property
    def calibrated(self) -> list[Judged]:
        """The held-out entities with calibrated scores."""
        return [Judged(label, self.apply(score), right) for label, score, right in self.entities]

    def apply(self, score: float) -> float:
        """The calibrated score of a raw one, both from 0 to 1; a higher raw score never gets a lower one."""
        if self.line:
            return sigmoid(self.line[0] * logit(score) + self.line[1])
        place = bisect_right(self.knots, (score, 2.0))
        if place in (0, len(self.knots)):
            return self.knots[min(place, len(self.knots) - 1)][1]
        (x0, y0), (x1, y1) = self.knots[place - 1], self.knots[place]
        return y0 + (y1 - y0) * (score - x0) / (x1 - x0)

    def signature(self) -> str:
        """16 hex digits of the SHA-256 of everything but the checksum."""
        value = {key: part for key, part in asdict(self).items() if key != "checksum"}
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value)) if value > -700 else 0.0


def logit(score: float) -> float:
    clipped = min(max(score, CLIP), 1 - CLIP)
    return log(clipped / (1 - clipped))


def too_little(judged: list[Judged]) -> str | None:
    """Why entities are too few to learn from; None if they are not."""
    kinds = Counter(one.right for one in judged)
    if kinds.total() >= LEAST and min(kinds[True], kinds[False]) >= LEAST_EACH:
        return None
    found = f"{kinds.total()} entities ({kinds[True]} right, {kinds[False]} wrong)"
    return f"{found} are too few to calibrate: {LEAST} are needed, at least {LEAST_EACH} right and {LEAST_EACH} wrong"


def save(folder: Path, calibration: Calibration) -> Path:
    """Write the file beside an adapter."""
    path = folder / CALIBRATION
    write_json(path, asdict(calibration) | {"checksum": calibration.signature()})
    return path


def load(folder: Path | None, prompt: str, weights: str | None) -> Calibration | None:
    """The calibration in a model's folder; None if there is none.

    Args:
        prompt: the fingerprint of the prompt that is asked with.
        weights: the fingerprint of the model's weights; None if they cannot be read here.

    Raises:
        UserError: it is damaged, was edited, has too few entities, or was made with another prompt or other weights.
    """
    path = folder / CALIBRATION if folder else None
    if path is None or not path.is_file():
        return None
    found = read_json(path, AGAIN, Calibration)
    problem = None
    if found.checksum != found.signature():
        problem = "was edited by hand"
    elif found.prompt != prompt:
        problem = f"was made with another prompt ({found.prompt}, asked with {prompt})"
    elif weights and found.weights != weights:
        problem = f"was made for other weights ({found.weights}, the model has {weights})"
    if problem:
        raise UserError(f"{rooted(path)}: {problem}; {AGAIN}")
    return found
