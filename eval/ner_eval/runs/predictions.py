"""The answers of a run, ``predictions.jsonl``: one `Prediction` per line, in order of arrival, and in
gold order once the run is complete. A line::

    {"id": "demo-test-1", "answer": "[{\"text\":\"林晓\",\"label\":\"name\"}]", "finish_reason": "stop",
     "prompt_tokens": 131, "completion_tokens": 12, "seconds": 0.41}

With ``ner-eval predict --confidence`` a line also has ``tokens``, from which scores are computed: the number of bytes
and the log-probability of each token of the answer (``[[2, -0.01], [6, -0.2]]``); none if they do not add up to it.

A record that the server refused has a line too, with the server's words, so that the rest of the run goes on::

    {"id": "demo-test-2", "answer": "", "finish_reason": "refused", "prompt_tokens": 0, "completion_tokens": 0,
     "seconds": 0.0, "error": "http://127.0.0.1:8000/v1: demo-test-2: HTTP 400: 'maximum context length …'"}

When it is asked again, its new line is appended like any other; of two lines with one id, the later one counts if the
earlier one is a refusal.

The process may be killed at any moment: a line that a crash cut off is removed when the run continues, and its answer
is requested again.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ner_common.decoding import decode_json
from ner_common.errors import UserError, escaped, printable, rooted
from ner_common.files import write_atomically
from ner_eval.runs.manifest import MANIFEST, Manifest, check_same, write_manifest

PREDICTIONS = "predictions.jsonl"
REFUSED = "refused"
_ERROR_SHOWN = 500  # characters of a server's words that are kept
_UNICODE = json.JSONEncoder(ensure_ascii=False)
Tokens = Annotated[int, Meta(ge=0, le=1 << 53)]
LogProbability = Annotated[float, Meta(ge=-1e9, le=0)]


class Prediction(Struct, frozen=True, forbid_unknown_fields=True):
    """One stored answer; ``finish_reason`` is the server's (``length``: truncated by max_tokens).

    ``error``: the words, on one line, with which the server refused the record; then there is no answer. Else "".
    """

    id: str
    answer: str
    finish_reason: str
    prompt_tokens: Tokens
    completion_tokens: Tokens
    seconds: Annotated[float, Meta(ge=0, le=1e9)]
    error: Annotated[str, Meta(min_length=1)] = ""
    tokens: tuple[tuple[Tokens, LogProbability], ...] = ()

    def __post_init__(self) -> None:
        if self.error and (self.answer or self.finish_reason != REFUSED):
            raise ValueError("a refused record has no answer, and the finish_reason refused")
        if self.tokens and sum(size for size, _ in self.tokens) != len(self.answer.encode(errors="replace")):
            raise ValueError("the tokens do not add up to the answer")

    @classmethod
    def refused(cls, id: str, error: str) -> "Prediction":
        """The line of a record that the server refused, or failed on, with these words."""
        words = printable(" ".join(error.split()))
        return cls(id, "", REFUSED, 0, 0, 0.0, words[:_ERROR_SHOWN] or "no reason given")

    def as_line(self) -> bytes:
        """One line of ``predictions.jsonl``, UTF-8; lone surrogates, which UTF-8 cannot encode, stay escaped."""
        # One encoder for all lines: this runs for every answer.
        value = {name: getattr(self, name) for name in self.__struct_fields__}
        for name in ("error", "tokens"):
            if not value[name]:
                del value[name]
        try:
            return (_UNICODE.encode(value) + "\n").encode()
        except UnicodeEncodeError:
            return (json.dumps(value) + "\n").encode()

    @classmethod
    def from_line(cls, line: str) -> "Prediction":
        """Read one line.

        Raises:
            ValueError: it is not JSON, a field is missing or has another type, or there is an unknown one.
        """
        try:
            return _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeError):
            return decode_json(line, cls)  # it says what is wrong, and reads the lone surrogates of older files


_DECODER = msgspec.json.Decoder(Prediction)


def read_predictions(run: Path) -> list[Prediction]:
    """Read the stored answers of a run's folder, in the order of the file; none if nothing is stored yet.

    An incomplete last line was cut off by a crash and is skipped: it was never counted, and the next
    `ner-eval predict` asks for it again.

    Raises:
        UserError: any other line is not a prediction, or repeats the id of one that is answered.
    """
    path = run / PREDICTIONS
    if not path.exists():
        return []
    predictions: dict[str, Prediction] = {}
    lines: dict[str, int] = {}
    for number, line in _whole_lines(path):
        if not line.strip():
            continue
        try:
            prediction = Prediction.from_line(line.decode())
        except ValueError as error:
            what = "not UTF-8" if isinstance(error, UnicodeDecodeError) else escaped(str(error), 120)
            raise UserError(
                f"{rooted(path)}:{number}: not a prediction ({what}); remove the line and predict again"
            ) from None
        id = prediction.id
        if id in lines and not predictions.pop(id).error:
            first = lines[id]
            raise UserError(
                f"{rooted(path)}:{number}: duplicate id {id}, also in line {first}; remove one of the lines"
            )
        lines[id], predictions[id] = number, prediction
    return list(predictions.values())


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line) of a predictions file, but for a last line that a crash cut off.

    One at a time: a server decides how long they are.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n") or _is_whole(line):
                yield number, line


def _is_whole(line: bytes) -> bool:
    """Whether a last line lacks only its newline."""
    try:
        Prediction.from_line(line.decode())
    except ValueError:
        return False
    return True


def begin(run: Path, manifest: Manifest, ids: Sequence[str]) -> dict[str, Prediction]:
    """Start or continue a run in its locked folder; returns its stored answers by id.

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
    return stored(run, ids)


def stored(run: Path, ids: Sequence[str]) -> dict[str, Prediction]:
    """The stored answers by id, refusals among them.

    Raises:
        UserError: one of them is not in ``ids``, or the file is broken.
    """
    predictions = {prediction.id: prediction for prediction in read_predictions(run)}
    if unknown := predictions.keys() - set(ids):
        first = min(unknown)
        raise UserError(
            f"{rooted(run / PREDICTIONS)}: {len(unknown)} ids are not from this corpus ({escaped(first, 60)}); "
            "use another --run"
        )
    return predictions


def _repair(path: Path) -> None:
    """Remove an incomplete last line; add the newline to a line that lacks only that."""
    size, last = 0, b"\n"
    with path.open("rb") as file:
        for last in file:
            size += len(last)
    if last.endswith(b"\n"):
        return
    if _is_whole(last):
        with path.open("ab") as file:
            file.write(b"\n")
    else:
        os.truncate(path, size - len(last))


def append(run: Path, predictions: Iterable[Prediction]) -> None:
    """Append answers to a run's file and sync it to the disk."""
    with (run / PREDICTIONS).open("ab") as file:
        for prediction in predictions:
            file.write(prediction.as_line())
        file.flush()
        os.fsync(file.fileno())


def finish(run: Path, ids: Sequence[str]) -> list[Prediction]:
    """Put a complete run, whose folder is locked, in the order of ``ids``, with one line for each.

    Returns:
        The predictions in that order.
    """
    path = run / PREDICTIONS
    by_id = {prediction.id: prediction for prediction in read_predictions(run)}
    ordered = [by_id[id] for id in ids]
    with path.open("rb") as file:
        same = all(prediction.as_line() == file.readline() for prediction in ordered) and not file.read(1)
    if not same:
        with write_atomically(path) as written:
            for prediction in ordered:
                written.write(prediction.as_line().decode())
    return ordered
