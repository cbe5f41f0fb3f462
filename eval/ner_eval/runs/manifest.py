"""A run: one model asked about one split. Its folder ``runs/<name>/`` holds

- ``manifest.json``      what was asked of which model (`Manifest`); only the same request continues a run
- ``predictions.jsonl``  the answers (`ner_eval.runs.predictions`)
- ``scores.json``        counts, written by `ner-eval score`; ``report.html`` by `ner-eval report`
"""

import random
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, one_line, rooted
from ner_common.files import read_json, write_json
from ner_data.gold import Record
from ner_data.prompt import PromptSpec

RUNS = Path("runs")
MANIFEST = "manifest.json"
VERSION = 1
# These may differ when a run continues: where and when it is asked. (Different training means different weights.)
FREE = {"folder", "base_urls", "started", "hardware", "training"}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What determines the answers of a run.

    Attributes:
        gold_sha256: checksum of the gold file as asked.
        sampling: what every request carried (temperature, top_p, repetition_penalty, max_tokens, ...).
        selection: how records were chosen (limit, sample, seed).
        folder: where the model is stored; ``weights`` is its fingerprint (None if it is on another machine).
        started: when the run was started, ISO 8601 in UTC.
        hardware: the machine that asked.
        training: how the model was trained (`ner_common.training_record`), if its folder records it.
    """

    version: int
    model: str
    base_urls: tuple[str, ...]
    corpus: str
    split: str
    gold: str
    gold_sha256: str
    prompt: PromptSpec
    sampling: dict[str, Any]
    selection: dict[str, Any]
    tool_versions: dict[str, str]
    folder: str | None = None
    weights: str | None = None
    started: str | None = None
    hardware: str | None = None
    training: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        value = asdict(self)
        value["prompt"]["fingerprint"] = self.prompt.fingerprint
        return value

    @classmethod
    def from_json(cls, value: Any) -> "Manifest":
        """Read a manifest's value.

        Raises:
            ValueError: it is not a manifest, of another version, or its prompt does not match its fingerprint.
        """
        if not isinstance(value, dict) or "version" not in value:
            raise ValueError("is not the manifest of a run")
        if value["version"] != VERSION:
            raise ValueError(f"has version {value['version']!r}, this program reads version {VERSION}")
        try:
            fields = dict(value["prompt"])
            fingerprint = fields.pop("fingerprint")
            prompt = PromptSpec(**{**fields, "labels": tuple(fields["labels"])})
            manifest = cls(**{**value, "prompt": prompt, "base_urls": tuple(value["base_urls"])})
        except (KeyError, TypeError, ValueError):
            raise ValueError("is not the manifest of a run") from None
        if fingerprint != prompt.fingerprint:
            raise ValueError(f"holds a prompt that was edited ({fingerprint}, contents {prompt.fingerprint})")
        return manifest


def run_folder(name: str | Path) -> Path:
    """A run's folder: ``runs/<name>``, or the name itself if it is a path."""
    return Path(name) if isinstance(name, Path) or "/" in name else RUNS / name


def read_manifest(run: Path) -> Manifest:
    """Read ``manifest.json`` of a run's folder.

    Raises:
        UserError: it is missing, not a manifest, or of another version.
    """
    path = run / MANIFEST
    try:
        return Manifest.from_json(read_json(path, "run `ner-eval predict` first"))
    except ValueError as error:
        raise UserError(f"{rooted(path)}: {error}; predict again into another --run") from None


def write_manifest(run: Path, manifest: Manifest) -> None:
    write_json(run / MANIFEST, manifest.as_json())


def check_same(run: Path, manifest: Manifest) -> None:
    """Check that a run's folder may be continued with a manifest.

    Raises:
        UserError: it asked something else, or another model of the same name.
    """
    if difference := differing_field(read_manifest(run), manifest):
        raise UserError(
            f"{rooted(run / MANIFEST)}: this run differs in {difference}; use another --run, or delete this one"
        )


def differing_field(stored: Manifest, wanted: Manifest) -> str | None:
    """Why a run cannot be continued: the first field that differs, with both values; None if it can."""
    for name in (field.name for field in fields(Manifest) if field.name not in FREE):
        ours, theirs = getattr(wanted, name), getattr(stored, name)
        if name == "tool_versions":  # answers do not depend on the Python version
            ours, theirs = ({key: value for key, value in all.items() if key != "python"} for all in (ours, theirs))
        # The server's files may not be readable every time.
        if ours == theirs or (name == "weights" and None in (ours, theirs)):
            continue
        if name == "prompt":
            keys = [f.name for f in fields(ours) if getattr(ours, f.name) != getattr(theirs, f.name)]
            return f"prompt ({', '.join(keys)}): stored {theirs.fingerprint}, asked for {ours.fingerprint}"
        if isinstance(ours, dict):
            key = next(key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key))
            name, ours, theirs = f"{name}.{key}", ours.get(key), theirs.get(key)
        return f"{name}: stored {one_line(theirs)}, asked for {one_line(ours)}"
    return None


def select(records: list[Record], selection: dict[str, Any]) -> list[Record]:
    """The records of a selection, in the order of the gold file."""
    if selection["limit"]:
        return records[: selection["limit"]]
    if selection["sample"]:
        drawn = random.Random(selection["seed"]).sample(range(len(records)), min(selection["sample"], len(records)))
        return [records[index] for index in sorted(drawn)]
    return records
