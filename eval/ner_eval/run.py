"""A run: one model asked for one split. Its folder ``runs/<name>/`` holds

- ``manifest.json``    what was asked of what (`Manifest`); a run is continued only with the same
- ``predictions.jsonl``  one `Prediction` a line, as the answers arrived; in gold order once the run is complete
- ``scores.json``      counts (written by `ner-eval score`), ``report.html`` (by `ner-eval report`)

A line of ``predictions.jsonl``::

    {"id": "demo-test-1", "answer": "[{\"text\":\"林晓\",\"label\":\"name\"}]", "finish_reason": "stop",
     "prompt_tokens": 131, "completion_tokens": 12, "seconds": 0.41}

Reading is here, writing in `ner_eval.store`.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ner_data.errors import UserError, one_line, rooted
from ner_data.files import json_value, read_json, write_json
from ner_data.prompt import PromptSpec

RUNS = Path("runs")
MANIFEST = "manifest.json"
PREDICTIONS = "predictions.jsonl"
VERSION = 1
_UNICODE = json.JSONEncoder(ensure_ascii=False)
_STRING, _WHOLE, _NUMBER = (str,), (int,), (int, float)
_WORDS = {_STRING: "a string", _WHOLE: "a whole number", _NUMBER: "a number"}
_TYPES: dict[str, tuple[type, ...]] = {
    "id": _STRING,
    "answer": _STRING,
    "finish_reason": _STRING,
    "prompt_tokens": _WHOLE,
    "completion_tokens": _WHOLE,
    "seconds": _NUMBER,
}
_BLOCK = 1 << 16  # bytes


@dataclass(frozen=True, slots=True)
class Prediction:
    """One stored answer.

    ``finish_reason`` is the server's (``length`` = cut off by max_tokens); ``seconds`` of wall time.
    """

    id: str
    answer: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float

    def as_line(self) -> bytes:
        """One line of ``predictions.jsonl``, UTF-8; lone surrogates, which UTF-8 cannot hold, stay escaped."""
        # Not asdict(), which copies deeply, and no new encoder a line: this is done for every answer as it arrives.
        value = {name: getattr(self, name) for name in self.__slots__}
        try:
            return (_UNICODE.encode(value) + "\n").encode()
        except UnicodeEncodeError:
            return (json.dumps(value) + "\n").encode()

    @classmethod
    def from_json(cls, value: Any) -> "Prediction":
        """Read one line's value.

        Raises:
            ValueError: a field is missing, has another type, or is unknown.
        """
        if not isinstance(value, dict) or value.keys() != _TYPES.keys():
            raise ValueError(f"is not an object with {', '.join(_TYPES)}")
        for key, field in value.items():
            if type(field) not in _TYPES[key]:  # a bool is an int, too, but not this type
                raise ValueError(f"{key} must be {_WORDS[_TYPES[key]]}")
        return cls(**value)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What decides the answers of a run.

    ``folder`` is where the model lies and ``weights`` what `weights_sum` says of it (None: on another machine);
    ``gold_sha256`` is the checksum of the gold file as asked; ``sampling`` what every request carried
    (temperature, top_p, repetition_penalty, max_tokens, ...); ``selection`` how records were chosen (limit, sample,
    seed).
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

    def as_json(self) -> dict[str, Any]:
        value = asdict(self)
        value["prompt"]["fingerprint"] = self.prompt.fingerprint
        return value

    @classmethod
    def from_json(cls, value: Any) -> "Manifest":
        """Read a manifest's value.

        Raises:
            ValueError: it is no manifest, of another version, or its prompt does not fit its fingerprint.
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


def weights_sum(folder: Path | None) -> str | None:
    """16 hex digits that change when a model or adapter is trained anew; None where no weights can be read.

    They cover configuration, names and sizes, and of every safetensors file 64 blocks of 64 KiB at even distances
    (small files whole): reading 15 GB would take longer than asking a thousand questions.
    """
    files = sorted(folder.glob("*.safetensors")) if folder else []
    if not folder or not files:
        return None
    total = hashlib.sha256()
    for path in [*(folder / name for name in ("config.json", "adapter_config.json")), *files]:
        size = path.stat().st_size if path.exists() else 0
        total.update(f"{path.name} {size}\n".encode())
        if size:
            with path.open("rb") as file:
                for block in range(64):
                    file.seek(max(block * _BLOCK, block * (size - _BLOCK) // 63))
                    total.update(file.read(_BLOCK))
    return total.hexdigest()[:16]


def run_folder(name: str) -> Path:
    """Where a run lies: ``runs/<name>``, or the name itself where it is a path."""
    return Path(name) if "/" in name else RUNS / name


def read_manifest(run: Path) -> Manifest:
    """Read ``manifest.json`` of a run's folder.

    Raises:
        UserError: it is missing, no manifest, or of another version.
    """
    path = run / MANIFEST
    try:
        return Manifest.from_json(read_json(path, "run `ner-eval predict` first"))
    except ValueError as error:
        raise UserError(f"{rooted(path)}: {error}; predict again into another --run") from None


def write_manifest(run: Path, manifest: Manifest) -> None:
    write_json(run / MANIFEST, manifest.as_json())


def read_predictions(run: Path) -> list[Prediction]:
    """Read the stored answers of a run's folder, in the order of the file; none where nothing is stored yet.

    A last line without its newline that is no whole prediction was cut off by a crash and is passed over: it was never
    counted, and the next `ner-eval predict` asks for it again.

    Raises:
        UserError: any other line is no prediction, or an id stands twice.
    """
    path = run / PREDICTIONS
    if not path.exists():
        return []
    whole, _ = split_tail(path.read_bytes())
    predictions: list[Prediction] = []
    seen: dict[str, int] = {}
    try:
        text = whole.decode()  # here and not by json, which would guess the encoding of every line
    except UnicodeDecodeError as error:
        number = whole.count(b"\n", 0, error.start) + 1
        problem = "no prediction (not UTF-8); remove the line and predict again"
        raise UserError(f"{rooted(path)}:{number}: {problem}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            prediction = Prediction.from_json(json_value(line))
        except (ValueError, RecursionError) as error:
            what = one_line(str(error), 120)
            raise UserError(
                f"{rooted(path)}:{number}: no prediction ({what}); remove the line and predict again"
            ) from None
        if prediction.id in seen:
            first = seen[prediction.id]
            raise UserError(
                f"{rooted(path)}:{number}: the id {prediction.id} stands in line {first} too; remove one of the lines"
            )
        seen[prediction.id] = number
        predictions.append(prediction)
    return predictions


def split_tail(data: bytes) -> tuple[bytes, bytes]:
    """Split the bytes of a predictions file into its whole lines and the part that a crash cut off (mostly empty).

    A last line that lacks nothing but its newline is whole.
    """
    end = data.rfind(b"\n") + 1
    tail = data[end:]
    try:
        Prediction.from_json(json.loads(tail))
    except (ValueError, RecursionError):
        return data[:end], tail
    return data, b""
