"""Checkpoints with their scores on the held-out records, and the best of them."""

from dataclasses import dataclass
from pathlib import Path

from ner_eval.checkpoints.candidates import Candidate
from ner_eval.metrics.comparison import ComparedRun
from ner_eval.metrics.counts import Counts, micro
from ner_eval.metrics.protocols import TEXT

READING = "lenient"


@dataclass(frozen=True, slots=True)
class Judged:
    """A checkpoint with its scores."""

    candidate: Candidate
    run: Path
    scored: ComparedRun

    @property
    def counts(self) -> Counts:
        return micro(self.scored.scores.counts(TEXT, READING))

    @property
    def interval(self) -> tuple[float, float]:
        low, high = self.scored.scores.intervals[READING][TEXT.counted_as]["micro"]
        return low, high

    @property
    def refused(self) -> int:
        return self.scored.scores.answers.refused


@dataclass(frozen=True, slots=True)
class Selection:
    """What was compared, by step.

    Attributes:
        folder: where everything is written.
        records: number of held-out records.
        changed: whether the adapter is another one now; None if it was to stay, or nothing can be chosen: the server
            refused records, or no checkpoint finds anything.
    """

    adapter: Path
    corpus: str
    folder: Path
    records: int
    judged: tuple[Judged, ...]
    best: Judged
    changed: bool | None = None

    @property
    def refused(self) -> int:
        return sum(judged.refused for judged in self.judged)
