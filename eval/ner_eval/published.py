"""A result file, ``recipes/<model>/results/<run>.json``: the only source of published figures.

::

    {"recipe": "recipes/nano/lora.yaml", "trained_on": "demo", "note": "", "commit": "1a2b3c4",
     "hardware": "2 cores AMD EPYC, no GPU", "gpu_memory_gb": null, "train_seconds": 171.3, "epochs": 3.0,
     "run": {"corpus": "demo", "split": "test", …}, "answers": {…}, "protocol": "text",
     "readings": {"lenient": {label: {"tp": …, "fp": …, "fn": …}, …}, "strict": {…}}, "intervals": {…},
     "base": "nano", "training_records": 1800, "curve": "lora",
     "prompt": {"answer_form": "json_list", "fingerprint": "0123456789abcdef", "definitions": false,
                "demonstrations": 0, "text_twice": false},
     "answers_per_s": 12.5, "number_format": "float32"}

and "selected" (`ner_common.training_record`) if `ner-eval select` chose the checkpoint; in "prompt", "shots" (nearest
or fixed) if the demonstrations are those of `ner-eval predict --shots`.

Files of earlier versions lack the last six; "number_format" is that of the training; "answers_per_s" is null unless
all records were asked in one go. The result of an untrained base model names ``model.yaml`` as its recipe, and was
trained on nothing.
"""

import re
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, to_builtins

from ner_common.decoding import convert
from ner_common.errors import UserError, one_line, printable, rooted
from ner_common.files import read_json
from ner_common.training_record import Selected
from ner_eval.metrics.counts import Count, Counts, macro, micro
from ner_eval.metrics.results import OTHER_LABELS
from ner_eval.metrics.scores_file import Intervals

RECIPES = Path("recipes")
UNTRAINED = "model.yaml"
Amount = Annotated[float, Meta(ge=0)]
Name = Annotated[str, Meta(max_length=200)]
# Characters that would end a cell or start markup; HTML's own are escaped as entities.
_MARKUP = re.compile(r"([\\`*|\[\]~]|(?<!\w)_|_(?!\w))")


class Scored(Struct, frozen=True, forbid_unknown_fields=True):
    """What was scored."""

    model: str
    corpus: str
    split: str
    labels: Annotated[tuple[str, ...], Meta(min_length=1)]


class Prompted(Struct, frozen=True, forbid_unknown_fields=True):
    """What the model was asked with: answer form, fingerprint of the prompt, and what the prompt has in addition."""

    answer_form: Name
    fingerprint: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
    definitions: bool = False
    demonstrations: Count = 0
    text_twice: bool = False
    shots: Literal["", "nearest", "fixed"] = ""

    def options(self) -> str:
        """The options in words."""
        shown = self.demonstrations
        which = {"": "", "nearest": " most like each text", "fixed": " not trained with"}[self.shots]
        parts = {
            "definitions": self.definitions,
            f"{shown} demonstration{'s' * (shown > 1)}{which}": shown,
            "text twice": self.text_twice,
        }
        return ", ".join(part for part, used in parts.items() if used)


class Published(Struct, frozen=True, forbid_unknown_fields=True):
    """A result file."""

    recipe: str
    trained_on: str
    note: str
    commit: str
    hardware: str
    gpu_memory_gb: Amount | None
    train_seconds: Amount | None
    epochs: Amount | None
    run: Scored
    answers: dict[Literal["scored", "unparsable", "inexact", "cut", "refused"], Count]
    protocol: Literal["text"]
    readings: dict[Literal["lenient", "strict"], dict[str, Counts]]
    intervals: dict[str, Any]
    base: Name = ""
    training_records: Count | None = None
    curve: Name = ""
    prompt: Prompted | None = None
    selected: Selected | None = None
    answers_per_s: Amount | None = None
    number_format: Literal["", "float32", "bfloat16", "float16"] = ""

    def __post_init__(self) -> None:
        # These two stand in the tables as code, in which nothing can be escaped.
        if not re.fullmatch(r"recipes/[^`|<>/\x00-\x1f]+/[^`|<>/\x00-\x1f]+\.yaml", self.recipe):
            raise ValueError(f"recipe: {one_line(self.recipe)} is not recipes/MODEL/METHOD.yaml")
        if not re.fullmatch(r"\w+", self.commit):
            raise ValueError(f"commit: {one_line(self.commit)} is not a commit")
        labels = set(self.run.labels)
        if self.readings.keys() != {"lenient", "strict"}:
            raise ValueError("readings: expected lenient and strict")
        if any(by_label.keys() | {OTHER_LABELS} != labels | {OTHER_LABELS} for by_label in self.readings.values()):
            raise ValueError("readings: do not have the labels of the run")
        if not self.answers.get("scored") or max(self.answers.values()) > self.answers["scored"]:
            raise ValueError("answers: do not add up")
        lenient, strict = (self.readings[name] for name in ("lenient", "strict"))
        for label, one in lenient.items():
            other = strict.get(label, Counts())
            if one.tp + one.fn != other.tp + other.fn or other.tp > one.tp or other.fp > one.fp:
                raise ValueError("readings: the counts of lenient and strict parsing contradict each other")
        if self.untrained and (self.trained_on or self.training_records or self.train_seconds):
            raise ValueError("training: an untrained model has none")
        if self.curve and self.training_records is None:
            raise ValueError("curve: a point of a learning curve needs training_records")
        self.spread()

    @property
    def untrained(self) -> bool:
        return self.recipe.endswith(f"/{UNTRAINED}")

    @property
    def method(self) -> str:
        """``MODEL/METHOD``, the recipe in short; ``MODEL, untrained`` without one."""
        short = self.recipe.removeprefix("recipes/").removesuffix(".yaml")
        return f"{short.removesuffix('/model')}, untrained" if self.untrained else short

    @property
    def base_model(self) -> str:
        """The base model's name; that of the recipe's folder in files that do not say."""
        return self.base or self.recipe.split("/")[1]

    @property
    def micro_f1(self) -> float:
        return micro(self.readings["lenient"]).f1

    @property
    def macro_f1(self) -> float:
        return macro(self.readings["lenient"], self.run.labels)[2]

    def effort(self) -> tuple[str, str, str, str]:
        """The cells of a table for training time, GPU memory, hardware and commit."""
        epochs = "" if self.epochs is None else f", {self.epochs:.1f} epochs"
        if self.selected:
            epochs += f", {self.selected.checkpoint}, the best of {self.selected.compared}"
        return (
            f"{self.train_seconds / 60:.1f} min{epochs}" if self.train_seconds else "–",
            f"{self.gpu_memory_gb:.1f} GB" if self.gpu_memory_gb else "–",
            cell(self.hardware) + (f", {self.number_format}" if self.number_format else ""),
            f"`{self.commit}`",
        )

    def spread(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """The intervals of micro and macro F1; None if there are none.

        Raises:
            ValueError: they are not such.
        """
        if not self.intervals:
            return None
        try:
            found = convert(self.intervals, Intervals).lenient[self.protocol]
        except ValueError as error:
            raise ValueError(f"intervals: {error}") from None
        except KeyError:
            raise ValueError(f"intervals: lack {self.protocol}") from None
        if any(low > high for low, high in (found.micro, found.macro)):
            raise ValueError("intervals: the lower end is above the upper end")
        return found.micro, found.macro


def read_result(path: Path) -> Published:
    """Read a result file.

    Raises:
        UserError: it is not one, or its counts contradict each other.
    """
    remedy = "publish the run again, or remove the file"
    value = read_json(path, remedy)
    try:
        result = convert(value, Published)
        if to_builtins(result.readings) != value["readings"]:
            raise ValueError("readings: a count is missing")
    except ValueError as error:
        raise UserError(f"{rooted(path)}: not a published result, or edited ({error}); {remedy}") from None
    return result


def all_results() -> dict[Path, Published]:
    """All result files, sorted by path.

    Raises:
        UserError: see `read_result`.
    """
    return {path: read_result(path) for path in sorted(RECIPES.glob("*/results/*.json"))}


def cell(text: str) -> str:
    """A text as Markdown for one cell: it is shown literally, and can end neither the cell nor the table."""
    return _MARKUP.sub(r"\\\1", escape(printable(" ".join(text.split())), quote=False))


def table_of(rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; the first row is its header."""
    header, *others = rows
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, tuple("---" for _ in header), *others])
