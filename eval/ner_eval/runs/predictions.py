"""The answers of a run, ``predictions.jsonl``: one `Prediction` per line, in order of arrival, and in
gold order once the run is complete. A line::

    {"id": "demo-test-1", "answer": "[{\"text\":\"林晓\",\"label\":\"name\"}]", "finish_reason": "stop",
     "prompt_tokens": 131, "completion_tokens": 12, "seconds": 0.41}

The process may be killed at any moment: a line that a crash cut off is removed when the run continues, and its answer
is requested again.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, one_line, rooted
from ner_common.files import json_value, write_atomically
from ner_eval.runs.manifest import MANIFEST, Manifest, check_same, write_manifest

PREDICTIONS = "predictions.jsonl"
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


@dataclass(frozen=True, slots=True)
class Prediction:
    """One stored answer; ``finish_reason`` is the server's (``length``: truncated by max_tokens)."""

    id: str
    answer: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float

    def as_line(self) -> bytes:
        """One line of ``predictions.jsonl``, UTF-8; lone surrogates, which UTF-8 cannot encode, stay escaped."""
        # Not asdict(), which makes deep copies, and one encoder for all lines: this runs for every answer.
        value = {name: getattr(self, name) for name in self.__slots__}
        try:
            return (_UNICODE.encode(value) + "\n").encode()
        except UnicodeEncodeError:
            return (json.dumps(value) + "\n").encode()

    @classmethod
    def from_json(cls, value: Any) -> "Prediction":
        """Read the decoded value of one line.

        Raises:
            ValueError: a field is missing, has another type, or is unknown.
        """
        if not isinstance(value, dict) or value.keys() != _TYPES.keys():
            raise ValueError(f"is not an object with {', '.join(_TYPES)}")
        for key, field in value.items():
            if type(field) not in _TYPES[key]:  # a bool is an int, too, but not this type
                raise ValueError(f"{key} must be {_WORDS[_TYPES[key]]}")
        return cls(**value)


def read_predictions(run: Path) -> list[Prediction]:
    """Read the stored answers of a run's folder, in the order of the file; none if nothing is stored yet.

    An incomplete last line was cut off by a crash and is skipped: it was never counted, and the next
    `ner-eval predict` asks for it again.

    Raises:
        UserError: any other line is not a prediction, or has a duplicate id.
    """
    path = run / PREDICTIONS
    if not path.exists():
        return []
    whole, _ = split_tail(path.read_bytes())
    predictions: list[Prediction] = []
    seen: dict[str, int] = {}
    try:
        text = whole.decode()  # not by json, which would detect the encoding of every line again
    except UnicodeDecodeError as error:
        number = whole.count(b"\n", 0, error.start) + 1
        problem = "not a prediction (not UTF-8); remove the line and predict again"
        raise UserError(f"{rooted(path)}:{number}: {problem}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            prediction = Prediction.from_json(json_value(line))
        except (ValueError, RecursionError) as error:
            what = one_line(str(error), 120)
            raise UserError(
                f"{rooted(path)}:{number}: not a prediction ({what}); remove the line and predict again"
            ) from None
        if prediction.id in seen:
            first = seen[prediction.id]
            raise UserError(
                f"{rooted(path)}:{number}: duplicate id {prediction.id}, also in line {first}; remove one of the lines"
            )
        seen[prediction.id] = number
        predictions.append(prediction)
    return predictions


def split_tail(data: bytes) -> tuple[bytes, bytes]:
    """Split the bytes of a predictions file into its complete lines and what a crash cut off (usually nothing).

    A last line that lacks only its newline is complete.
    """
    end = data.rfind(b"\n") + 1
    tail = data[end:]
    try:
        Prediction.from_json(json.loads(tail))
    except (ValueError, RecursionError):
        return data[:end], tail
    return data, b""


def begin(run: Path, manifest: Manifest, ids: Sequence[str]) -> set[str]:
    """Start or continue a run in its locked folder; returns the ids that have an answer.

    Raises:
        UserError: the folder holds a run that asked something else, answers without a manifest, or unknown ids.
    """
    path = run / PREDICTIONS
    if (run / MANIFEST).exists():
        check_same(run, manifest)
    elif path.exists():
        raise UserError(
            f"{rooted(path)}: has no {MANIFEST} next to it, so what was asked is unknown; use another --run"
        )
    else:
        write_manifest(run, manifest)
    if path.exists():
        _repair(path)
    return stored_ids(run, ids)


def stored_ids(run: Path, ids: Sequence[str]) -> set[str]:
    """The ids that have an answer.

    Raises:
        UserError: one of them is not in ``ids``, or the file is broken.
    """
    stored = {prediction.id for prediction in read_predictions(run)}
    if unknown := stored.difference(ids):
        first = min(unknown)
        raise UserError(
            f"{rooted(run / PREDICTIONS)}: {len(unknown)} ids are not from this corpus ({first}); use another --run"
        )
    return stored


def _repair(path: Path) -> None:
    """Remove an incomplete last line; add the newline to a line that lacks only that."""
    data = path.read_bytes()
    whole, tail = split_tail(data)
    with path.open("r+b") as file:
        if tail:
            file.truncate(len(whole))
        elif whole and not whole.endswith(b"\n"):
            file.seek(0, os.SEEK_END)
            file.write(b"\n")


def append(run: Path, predictions: Iterable[Prediction]) -> None:
    """Append answers to a run's file and sync it to the disk."""
    with (run / PREDICTIONS).open("ab") as file:
        for prediction in predictions:
            file.write(prediction.as_line())
        file.flush()
        os.fsync(file.fileno())


def finish(run: Path, ids: Sequence[str]) -> list[Prediction]:
    """Put a complete run in the order of ``ids``; returns the predictions in that order."""
    path = run / PREDICTIONS
    by_id = {prediction.id: prediction for prediction in read_predictions(run)}
    ordered = [by_id[id] for id in ids]
    data = b"".join(prediction.as_line() for prediction in ordered)
    if path.read_bytes() != data:
        with write_atomically(path) as file:
            file.write(data.decode())
    return ordered
