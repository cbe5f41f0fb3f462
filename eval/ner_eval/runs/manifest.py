"""A run: one model asked about one split. Its folder ``runs/<name>/`` holds

- ``manifest.json``      what was asked of which model (`Manifest`); only the same request continues a run
- ``predictions.jsonl``  the answers (`ner_eval.runs.predictions`)
- ``scores.json``        counts, written by `ner-eval score`; ``report.html`` by `ner-eval report`
"""

import json
import random
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, to_builtins
from msgspec.structs import asdict, fields

from ner_common.decoding import convert, decode_json
from ner_common.errors import UserError, is_plain, one_line, rooted
from ner_common.files import read_json, write_json
from ner_common.training_record import Quantized, Selected
from ner_data.gold import Record
from ner_data.prompt import PromptSpec

RUNS = Path("runs")
MANIFEST = "manifest.json"
OURS = "llamafactory-ner"  # this project, among the tool versions
VERSION = 1
# These may differ when a run continues: where and when it is asked. (Different training means different weights.)
FREE = {"folder", "base_urls", "started", "seconds", "hardware", "training"}
Name = Annotated[str, Meta(min_length=1, max_length=200)]
FilePath = Annotated[str, Meta(min_length=1, max_length=4000)]
# limit, sample, seed: null if they do not apply. One made by hand may leave them out.
Selection = dict[str, int | None]


class Shots(Struct, frozen=True, forbid_unknown_fields=True):
    """Demonstrations that each record was asked with, beside the prompt (`ner_eval.inference.shots`).

    Attributes:
        count: how many.
        method: ``nearest`` to the text, or ``fixed``: drawn once with ``seed``, which is None for the nearest.
        gold: the file of the training split, and ``gold_sha256`` its checksum.
    """

    count: Annotated[int, Meta(ge=1)]
    method: Literal["nearest", "fixed"]
    seed: int | None
    gold: FilePath
    gold_sha256: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """What determines the answers of a run.

    Attributes:
        gold_sha256: checksum of the gold file as asked.
        sampling: what every request carried (temperature, top_p, repetition_penalty, max_tokens, ...).
        selection: how records were chosen (limit, sample, seed).
        folder: where the model is stored; ``weights`` is its fingerprint (None if it is on another machine).
        started: when the run was started, ISO 8601 in UTC.
        seconds: how long all answers took together, if they were asked in one go; None if not.
        hardware: the machine that asked.
        training: how the model was trained (`ner_common.training_record`), if its folder records it.
        shots: what ``prompt`` was completed with for each record; None: nothing.
    """

    version: int
    model: Annotated[str, Meta(min_length=1)]
    base_urls: tuple[str, ...]
    corpus: Name
    split: Name
    gold: FilePath
    gold_sha256: str
    prompt: PromptSpec
    sampling: dict[str, bool | int | float | str | None]
    selection: Selection
    tool_versions: dict[str, str]
    folder: FilePath | None = None
    weights: str | None = None
    started: str | None = None
    seconds: Annotated[float, Meta(ge=0)] | None = None
    hardware: str | None = None
    training: dict[str, Any] | None = None
    shots: Shots | None = None

    @property
    def selected(self) -> Selected | None:
        """Which checkpoint of its training the model is, if `ner-eval select` chose it."""
        try:
            chosen = convert((self.training or {}).get("selected"), Selected)
        except ValueError:
            return None
        return chosen if chosen.weights == self.weights else None

    @property
    def quantized(self) -> Quantized | None:
        """How the model was quantised, if `ner-model quantize` or `export-gguf` made it."""
        try:
            return convert((self.training or {}).get("quantized"), Quantized)
        except ValueError:
            return None

    def as_json(self) -> dict[str, Any]:
        value = asdict(self) | {"prompt": self.prompt.as_json()}
        # Without it, earlier versions read the manifest too.
        shots = value.pop("shots")
        return value | ({"shots": to_builtins(shots)} if shots else {})

    @classmethod
    def from_json(cls, value: Any) -> "Manifest":
        """Read a manifest's value.

        Raises:
            ValueError: it is not a manifest, of another version, or its prompt does not match its fingerprint.
        """
        if not isinstance(value, dict) or "version" not in value:
            raise ValueError("is not the manifest of a run")
        if value["version"] != VERSION:
            raise ValueError(f"has version {one_line(value['version'])}, this program reads version {VERSION}")
        prompt = value.get("prompt")
        if isinstance(prompt, dict):
            try:
                prompt = PromptSpec.from_json(prompt)
            except ValueError as error:
                raise ValueError(f"holds a prompt that was edited: {error}") from None
        try:
            manifest = convert({**value, "prompt": prompt}, cls)
            _check_paths(manifest)
            check_selection(manifest.selection)
        except ValueError as error:
            raise ValueError(f"is not the manifest of a run, or was edited ({error})") from None
        return manifest


def _check_paths(manifest: Manifest) -> None:
    """Raises:
    ValueError: a value that becomes part of a path cannot be one. (A corpus and a split name files.)
    """
    for name in ("model", "corpus", "split", "gold", "folder"):
        check_plain(name, getattr(manifest, name) or "")
    for name in ("corpus", "split"):
        if "/" in getattr(manifest, name):
            raise ValueError(f"{name}: {one_line(getattr(manifest, name), 40)} has a slash")


def check_plain(name: str, value: str) -> None:
    """Raises:
    ValueError: a value that is printed in a line, or is a path, has control characters.
    """
    if not is_plain(value):
        raise ValueError(f"{name}: {one_line(value, 40)} has control characters")


def check_selection(selection: Selection) -> None:
    """Raises:
    ValueError: a key is unknown, a number is out of range, or the seed of a sample is missing.
    """
    if unknown := selection.keys() - {"limit", "sample", "seed"}:
        raise ValueError(f"selection: has the unknown field {one_line(min(unknown), 40)}")
    for key in ("limit", "sample"):
        if (chosen := selection.get(key)) is not None and chosen < 1:
            raise ValueError(f"selection.{key}: expected a positive number, got {chosen}")
    if selection.get("sample") and selection.get("seed") is None:
        raise ValueError("selection: a sample needs its seed")


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
    """Write ``manifest.json`` of a run's folder.

    Raises:
        UserError: a name or a path in it could not be read back.
    """
    value = manifest.as_json()
    try:
        Manifest.from_json(decode_json(json.dumps(value, ensure_ascii=False)))
    except ValueError as error:
        problem = "a name or path is not UTF-8" if isinstance(error, UnicodeError) else str(error)
        raise UserError(f"{rooted(run / MANIFEST)}: cannot be written ({problem})") from None
    write_json(run / MANIFEST, value)


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
        if name == "tool_versions":
            ours, theirs = (_answering(versions) for versions in (ours, theirs))
        # The server's files may not be readable every time.
        if ours == theirs or (name == "weights" and None in (ours, theirs)):
            continue
        if name == "prompt":
            asked, before = ours.as_json(), theirs.as_json()
            keys = [key for key in {**asked, **before} if key != "fingerprint" and asked.get(key) != before.get(key)]
            return f"prompt ({', '.join(keys)}): stored {theirs.fingerprint}, asked for {ours.fingerprint}"
        if isinstance(ours, Shots) or isinstance(theirs, Shots):
            ours, theirs = ({} if one is None else to_builtins(one) for one in (ours, theirs))
        if isinstance(ours, dict):
            key = next(key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key))
            name, ours, theirs = f"{name}.{key}", ours.get(key), theirs.get(key)
        return f"{name}: stored {one_line(theirs)}, asked for {one_line(ours)}"
    return None


def _answering(versions: dict[str, str]) -> dict[str, str]:
    """The versions that answers depend on: the server's. What we send is stored as prompt and sampling."""
    return {name: version for name, version in versions.items() if name not in ("python", OURS)}


def select(records: list[Record], selection: Selection) -> list[Record]:
    """The records of a selection, in the order of the gold file."""
    if selection["limit"]:
        return records[: selection["limit"]]
    if selection["sample"]:
        drawn = random.Random(selection["seed"]).sample(range(len(records)), min(selection["sample"], len(records)))
        return [records[index] for index in sorted(drawn)]
    return records
