"""Learning a calibration from held-out entities, with scikit-learn. (Applying one needs none.)"""

from collections.abc import Sequence
from typing import Any

from ner_common.errors import UserError
from ner_eval.confidence.calibration import Calibration, logit, too_little
from ner_eval.confidence.curves import Judged, calibration_error

MANY = 1000  # entities from which on isotonic regression, which has no fixed shape, has enough to learn from
FOLDS = 5
LEAST_SLOPE = 1e-9  # of entities of which those with higher scores are not right more often
LEAST_RISE = 1e-6  # from the calibrated score of the lowest score to that of the highest


def fit(
    judged: Sequence[Judged],
    records: Sequence[int],
    *,
    method: str | None,
    corpus: str,
    prompt: str,
    weights: str,
    structured: str,
) -> Calibration:
    """Learn a calibration from entities.

    Args:
        records: the number of each entity's record: those of one record stay together in cross-validation.
        method: isotonic or platt; None: isotonic from `MANY` entities on.

    Raises:
        UserError: there are too few entities, a higher score does not mean more right ones, or there is no
            scikit-learn.
    """
    if problem := too_little(list(judged)):
        raise UserError(f"{problem}; hold out more records (val_size), or use a larger corpus")
    method = method or ("isotonic" if len(judged) >= MANY else "platt")
    before = calibration_error(judged) or 0.0
    entities = tuple((one.label, one.score, one.right) for one in judged)

    def made(parameters: dict[str, Any], error_after: float) -> Calibration:
        return Calibration(
            1, corpus, prompt, weights, structured, "platt" if method == "platt" else "isotonic", **parameters,
            error_before=before, error_after=error_after, entities=entities,
        )  # fmt: skip

    parameters = _learn(judged, method)
    lowest, highest = (made(parameters, 0.0).apply(end(one.score for one in judged)) for end in (min, max))
    if highest - lowest < LEAST_RISE:
        raise UserError("entities with higher scores are not right more often, so scores say nothing; train longer")
    unseen: list[Judged] = []
    for fold in range(FOLDS):
        others = [one for one, record in zip(judged, records, strict=True) if record % FOLDS != fold]
        if len({one.right for one in others}) < 2:
            continue  # nothing to learn from
        without = made(_learn(others, method), 0.0)
        unseen += [
            Judged(one.label, without.apply(one.score), one.right)
            for one, record in zip(judged, records, strict=True)
            if record % FOLDS == fold
        ]
    return made(parameters, calibration_error(unseen) or 0.0)


def _learn(judged: Sequence[Judged], method: str) -> dict[str, Any]:
    return _platt(judged) if method == "platt" else _isotonic(judged)


def _platt(judged: Sequence[Judged]) -> dict[str, Any]:
    """Slope and intercept, with Platt's targets (n+1)/(n+2) and 1/(n+2) instead of 1 and 0, so they stay finite."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise _missing() from None
    right = sum(one.right for one in judged)
    targets = [(right + 1) / (right + 2) if one.right else 1 / (len(judged) - right + 2) for one in judged]
    inputs = [[logit(one.score)] for one in judged]
    # Each entity is right with its target as the weight, and wrong with the rest.
    model = LogisticRegression(C=1e6, max_iter=1000)
    known = [1] * len(judged) + [0] * len(judged)
    model.fit(inputs + inputs, known, sample_weight=targets + [1 - target for target in targets])
    slope, intercept = float(model.coef_[0][0]), float(model.intercept_[0])
    return {"line": (max(slope, LEAST_SLOPE), intercept), "knots": ()}


def _isotonic(judged: Sequence[Judged]) -> dict[str, Any]:
    try:
        from sklearn.isotonic import IsotonicRegression
    except ImportError:
        raise _missing() from None
    model = IsotonicRegression(y_min=0, y_max=1, increasing=True, out_of_bounds="clip")
    model.fit([one.score for one in judged], [float(one.right) for one in judged])
    ends = zip(model.X_thresholds_.tolist(), model.y_thresholds_.tolist(), strict=True)
    return {"line": None, "knots": tuple((x, min(max(y, 0.0), 1.0)) for x, y in ends)}


def _missing() -> UserError:
    return UserError("calibration needs the package scikit-learn, which is not installed here; use .venv")
