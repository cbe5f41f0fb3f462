"""Confidence intervals and significance by resampling sentences (percentile bootstrap, seeded).

A resample draws as many sentences as there are, with replacement. Only the counts of the drawn sentences matter, so
sentences with equal counts form one class, and a resample is how often each class was drawn. Figures to be compared
use the same draws.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ner_eval.metrics.protocols import FN, FP, TP, Tally

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0
_AT_ONCE = 125  # resamples, to bound the memory

Floats = NDArray[np.float64]


def resample(tallies: list[Tally], resamples: int = RESAMPLES, seed: int = SEED) -> list[NDArray[np.int64]]:
    """Draw the same sentences for every tally.

    Args:
        tallies: counts of the shape (sentences, labels, 3).

    Returns:
        For every tally the sums over the drawn sentences, shape (resamples, labels, 3).
    """
    sentences = len(tallies[0])
    flat = np.concatenate([tally.reshape(sentences, -1) for tally in tallies], axis=1)
    classes, members = _classes(flat)
    class_of = np.repeat(np.arange(len(members), dtype=np.int32), members)
    generator = np.random.default_rng(seed)
    # As floats, which hold integers of this size exactly: numpy multiplies integer matrices far more slowly.
    values = classes.astype(np.float64)
    total = np.empty((resamples, flat.shape[1]))
    for first in range(0, resamples, _AT_ONCE):
        sums = total[first : first + _AT_ONCE]
        drawn = np.empty((len(sums), len(members)))
        for row in drawn:
            chosen = generator.integers(0, sentences, size=sentences, dtype=np.int32)
            row[:] = np.bincount(class_of[chosen], minlength=len(members))
        np.matmul(drawn, values, out=sums)
    parts = np.split(total.astype(np.int64), np.cumsum([tally[0].size for tally in tallies])[:-1], axis=1)
    return [part.reshape(resamples, *tally.shape[1:]) for part, tally in zip(parts, tallies, strict=True)]


def _classes(rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The distinct rows of a table and how many times each occurs; the order of rows does not matter."""
    seen: dict[bytes, int] = {}
    for row in np.ascontiguousarray(rows):
        key = row.tobytes()
        seen[key] = seen.get(key, 0) + 1
    keys = sorted(seen)
    distinct = np.frombuffer(b"".join(keys), dtype=rows.dtype).reshape(len(keys), rows.shape[1])
    return distinct, np.array([seen[key] for key in keys])


def micro_f1(counts: NDArray[Any]) -> Floats:
    """Micro F1 of counts of the shape (..., labels, 3); division by zero is 0."""
    return _f1(counts.sum(axis=-2))


def macro_f1(counts: NDArray[Any], labels: int) -> Floats:
    """Mean F1 of the first ``labels`` labels of counts of the shape (..., all labels, 3); division by zero is 0."""
    return np.asarray(_f1(counts[..., :labels, :]).mean(axis=-1))


def _f1(counts: NDArray[Any]) -> Floats:
    double = 2.0 * counts[..., TP]
    below = double + counts[..., FP] + counts[..., FN]
    return np.asarray(np.divide(double, below, out=np.zeros_like(double), where=below > 0))


def interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
