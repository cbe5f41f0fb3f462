"""What ``scores.json`` holds: counts. Ratios are derived, so that adding the counts of parts gives those of the whole.

::

    {"version": 1, "model": "nano-lora", "corpus": "demo", "split": "test", "gold_sha256": "…", "prompt": "…",
     "selection": {"limit": null, "sample": null, "seed": null}, "labels": ["name", "company"],
     "answers": {"scored": 200, "missing": 0, "without_gold": 0, "unparsable": 3, "inexact": 5, …},
     "readings": {
       "lenient": {"mentions": {"predicted": 498, "gold": 501, "hallucinated": 4, …},
                   "text": {"name": {"tp": 90, "fp": 7, "fn": 11}, …, "": {…}},
                   "span": {…},
                   "modes": {"strict": {"correct": 402, "incorrect": 61, "missed": 38, …}, …},
                   "modes_by_label": {"name": {"strict": {…}, …}, …, "": {…}}},
       "strict": {…}},
     "intervals": {"level": 0.95, "resamples": 1000, "seed": 0, "lenient": {"text": {"micro": [0.79, 0.84], …}}}}

The label "" stands for all labels outside the set. ``intervals`` belong to the whole, so adding parts loses them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from ner_data.errors import UserError, rooted
from ner_data.files import read_json, write_json

VERSION = 1
SCORES = "scores.json"
READINGS = ("lenient", "strict")
PROTOCOLS = ("text", "span")
OTHER_LABELS = ""


def ratio(part: float, whole: float) -> float:
    """A quotient; division by zero is 0."""
    return part / whole if whole else 0.0


class Addable:
    """Dataclasses of counts (numbers, addable dataclasses, or dicts of these) add up field by field."""

    __slots__ = ()

    def __add__(self, other: Self) -> Self:
        return type(self)(*(_add(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))  # type: ignore[arg-type]


def _add(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return {key: _add(one[key], other[key]) if key in other else one[key] for key in one} | {
            key: value for key, value in other.items() if key not in one
        }
    return one + other


@dataclass(frozen=True, slots=True)
class Counts(Addable):
    """Hits and misses of one label, or of several added up."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    @property
    def precision(self) -> float:
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


@dataclass(frozen=True, slots=True)
class ModeCounts(Addable):
    """Outcomes of one of nervaluate's modes (see `ner_eval.modes`). A partial match is worth one half."""

    correct: int = 0
    incorrect: int = 0
    partial: int = 0
    missed: int = 0
    spurious: int = 0

    @property
    def precision(self) -> float:
        return ratio(self.correct + self.partial / 2, self.correct + self.incorrect + self.partial + self.spurious)

    @property
    def recall(self) -> float:
        return ratio(self.correct + self.partial / 2, self.correct + self.incorrect + self.partial + self.missed)

    @property
    def f1(self) -> float:
        return ratio(2 * self.precision * self.recall, self.precision + self.recall)


@dataclass(frozen=True, slots=True)
class Answers(Addable):
    """How the answers were: scored (records with gold and an answer), missing, for records without gold, and of the
    scored ones: unparsable, inexact (items found in something else than the form), bad_item, cut by max_tokens."""

    scored: int = 0
    missing: int = 0
    without_gold: int = 0
    unparsable: int = 0
    inexact: int = 0
    bad_item: int = 0
    cut: int = 0


@dataclass(frozen=True, slots=True)
class MentionCounts(Addable):
    """Mentions in answers and in gold; of those in answers: hallucinated (surface not in the text), with a label
    outside the set, duplicated (label and place named before in the same answer)."""

    predicted: int = 0
    gold: int = 0
    hallucinated: int = 0
    unknown_label: int = 0
    duplicated: int = 0


@dataclass(frozen=True, slots=True)
class Reading(Addable):
    """The counts of one way to read the answers: protocol text and span by label, the modes, the modes by label."""

    mentions: MentionCounts
    text: dict[str, Counts]
    span: dict[str, Counts]
    modes: dict[str, ModeCounts]
    modes_by_label: dict[str, dict[str, ModeCounts]]


def micro(by_label: Mapping[str, Counts]) -> Counts:
    """All labels together, those outside the set included: their mentions are false positives."""
    return sum(by_label.values(), Counts())


def macro(by_label: Mapping[str, Counts], labels: Iterable[str]) -> tuple[float, float, float]:
    """Mean precision, recall and F1 over the label set; a label with neither gold nor predictions counts as 0.

    Over the protocol text this is CLUENER's official score (``score.py`` of CLUEbenchmark/CLUENER2020, which stops at
    the division by zero).
    """
    rows = [by_label.get(label, Counts()) for label in labels]
    sums = (sum(getattr(row, name) for row in rows) for name in ("precision", "recall", "f1"))
    precision, recall, f1 = (ratio(total, len(rows)) for total in sums)
    return precision, recall, f1


@dataclass(frozen=True, slots=True)
class Scores:
    """The counts of a run, or of several runs over parts of one split added up."""

    model: str
    corpus: str
    split: str
    gold_sha256: str
    prompt: str
    selection: dict[str, Any]
    labels: tuple[str, ...]
    answers: Answers
    readings: dict[str, Reading]
    intervals: dict[str, Any] = field(default_factory=dict)

    def __add__(self, other: "Scores") -> "Scores":
        """Add the counts of another part.

        Raises:
            ValueError: the other part is of another model, corpus, prompt or label set.
        """
        same = ("model", "corpus", "split", "prompt", "labels")
        if differing := [name for name in same if getattr(self, name) != getattr(other, name)]:
            raise ValueError(f"scores of another {', '.join(differing)} cannot be added")
        gold = self.gold_sha256 if self.gold_sha256 == other.gold_sha256 else ""
        readings: dict[str, Reading] = _add(self.readings, other.readings)
        selection = self.selection if self.selection == other.selection else {}
        head = (self.model, self.corpus, self.split, gold, self.prompt, selection, self.labels)
        return Scores(*head, self.answers + other.answers, readings)

    def save(self, path: Path) -> None:
        write_json(path, {"version": VERSION, **asdict(self)})


def read_scores(path: Path) -> Scores:
    """Read a ``scores.json``.

    Raises:
        UserError: it is missing, no scores file, or of another version.
    """
    remedy = "run `ner-eval score RUN` to write it anew"
    value = read_json(path, remedy)
    if not isinstance(value, dict) or "version" not in value:
        raise UserError(f"{rooted(path)}: not a scores file; {remedy}")
    version = value.pop("version")
    if version != VERSION:
        raise UserError(f"{rooted(path)}: version {version!r}, this program reads version {VERSION}; {remedy}")
    try:
        readings = {name: _reading(counts) for name, counts in value["readings"].items()}
        changed = {"labels": tuple(value["labels"]), "answers": Answers(**value["answers"]), "readings": readings}
        return Scores(**{**value, **changed})
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"{rooted(path)}: incomplete or edited; {remedy}") from None


def _reading(value: Any) -> Reading:
    return Reading(
        MentionCounts(**value["mentions"]),
        {label: Counts(**counts) for label, counts in value["text"].items()},
        {label: Counts(**counts) for label, counts in value["span"].items()},
        {mode: ModeCounts(**counts) for mode, counts in value["modes"].items()},
        {
            label: {mode: ModeCounts(**counts) for mode, counts in modes.items()}
            for label, modes in value["modes_by_label"].items()
        },
    )
