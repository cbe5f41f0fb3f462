"""Asking offline: ``ner-eval predict --batch`` writes a run's requests as an OpenAI batch file, and reads the results.

In between, ``ner-model answer-batch`` or any service for such files answers the requests.

A line of ``batch-requests.jsonl`` (``body`` is the body of the HTTP request)::

    {"custom_id": "demo-test-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "nano", ...}}

A line of ``batch-results.jsonl``::

    {"id": "vllm-1", "custom_id": "demo-test-1", "error": null, "response":
        {"status_code": 200, "request_id": "vllm-batch-1", "body": {"choices": [...], "usage": {...}}}}

A request that failed has another status and an error, in the body or beside the response. One with a status that
concerns this record alone (400, 413, 422 …) is refused for good, as online; any other is sent again. An answer must
have what was asked for, as online (`ner_eval.inference.request.problem_of`); a record whose JSON was filled up with
white space is sent again with a grammar, also in later batches, which their requests say.
"""

import json
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from ner_common.errors import UserError, one_line, rooted
from ner_common.files import json_lines, write_atomically
from ner_data.gold import Record
from ner_eval.inference.asking import prediction_of
from ner_eval.inference.failures import RequestRefused, refuses_the_record, shown
from ner_eval.inference.reply import MalformedReply, reply_of
from ner_eval.inference.request import PADDED, problem_of, request_body, with_grammar
from ner_eval.inference.shots import SpecFor
from ner_eval.runs.manifest import Manifest
from ner_eval.runs.predictions import Prediction, append, begin, finish
from ner_eval.runs.writer import locked_run

REQUESTS = "batch-requests.jsonl"
RESULTS = "batch-results.jsonl"
FILLED = "its JSON is filled up with white space; asked with a grammar from now on"


class Request(Struct):
    """A line of batch requests."""

    custom_id: str
    body: dict[str, Any]


class Response(Struct):
    """The response in a line of batch results; services add fields of their own."""

    status_code: int | None = None
    body: Any = None


class Result(Struct):
    """A line of batch results."""

    custom_id: str
    response: Response | None
    error: Any = None


def work_offline(
    run: Path,
    manifest: Manifest,
    records: Sequence[Record],
    spec_for: SpecFor,
    adapter: Path | None,
    retry_refused: bool = False,
) -> list[Prediction]:
    """Read the results, if there are any, and write requests for the records without an answer.

    Args:
        spec_for: what a text is asked with.
        retry_refused: write requests for records that were refused before, too.

    Returns:
        The predictions, in the order of the records, once every record has one; none before.

    Raises:
        UserError: the run asked something else, or the results belong to another run or lack what was asked for.
    """
    ids = [record.id for record in records]
    with locked_run(run):
        stored = begin(run, manifest, ids)
        answered = (run / RESULTS).exists()
        padded = asked_with_grammar(run / REQUESTS, manifest)
        if answered:
            predictions, failed = read_results(run / RESULTS, manifest, records, padded)
            failures = Counter(failed.values())
            padded |= {id for id, reason in failed.items() if reason == FILLED}
            new = [p for p in predictions if p.id not in stored or stored[p.id].error]
            append(run, new)
            stored |= {prediction.id: prediction for prediction in new}
            print(f"{rooted(run / RESULTS)}: read {len(predictions) + failures.total()}, {_counts(new, failures)}")
        # What the results refuse again is not asked a third time, or the batches would never end.
        again = {id for id in stored if stored[id].error} if retry_refused and not answered else set()
        left = [record for record in records if record.id not in stored or record.id in again]
        if left or any(prediction.error for prediction in stored.values()):
            (run / RESULTS).unlink(missing_ok=True)  # its answers are stored; the next results are another file
        if not left:
            (run / REQUESTS).unlink(missing_ok=True)
            return finish(run, ids)
        write_requests(run / REQUESTS, manifest, left, spec_for, padded)
        print(f"{rooted(run / REQUESTS)}: {len(left)} requests; have them answered, for example with")
        print(f"  {command(run, manifest.model, adapter)}")
        print("then run the same command again")
        return []


def command(run: Path, model: str, adapter: Path | None) -> str:
    """The command by which vLLM answers the requests."""
    files = ["--requests", rooted(run / REQUESTS), "--results", rooted(run / RESULTS)]
    return shlex.join([".venv-serve/bin/ner-model", "answer-batch", f"{model}={adapter or 'MODEL_FOLDER'}", *files])


def _counts(new: Sequence[Prediction], failures: Counter[str]) -> str:
    refused = sum(bool(prediction.error) for prediction in new)
    failed = "".join(f" ({count} x {reason})" for reason, count in failures.most_common(5))
    shown = f", refused {refused}" if refused else ""
    return f"stored {len(new) - refused} new answers{shown}, failed {failures.total()}{failed}"


def write_requests(
    path: Path, manifest: Manifest, records: Iterable[Record], spec_for: SpecFor, padded: Collection[str]
) -> None:
    """Write a batch file; the records in ``padded`` are asked with a grammar instead of a schema."""
    with write_atomically(path) as file:
        for record in records:
            sampling = _sampling(manifest, record.id in padded)
            body = request_body(manifest.model, spec_for(record.text), record.text, sampling)
            line = {"custom_id": record.id, "method": "POST", "url": "/v1/chat/completions", "body": body}
            # ASCII: a text may hold lone surrogates, which UTF-8 cannot.
            file.write(json.dumps(line) + "\n")


def _sampling(manifest: Manifest, padded: bool) -> dict[str, Any]:
    return with_grammar(manifest.sampling) if padded else manifest.sampling


def asked_with_grammar(path: Path, manifest: Manifest) -> set[str]:
    """The ids that a batch file asks with a grammar, though the run asks with a schema: see `FILLED`.

    Raises:
        UserError: a line is not a request.
    """
    if manifest.sampling["structured"] != "json" or not path.exists():
        return set()
    lines = json_lines(path, "not a line of batch requests; remove the file and run the same command again", Request)
    return {request.custom_id for _, request in lines if "structured_outputs" in request.body}


def read_results(
    path: Path, manifest: Manifest, records: Iterable[Record], padded: Collection[str]
) -> tuple[list[Prediction], dict[str, str]]:
    """The answers and refusals of a batch results file, and by id why other requests failed.

    Args:
        records: all of the run; those in ``padded`` were asked with a grammar.

    Raises:
        UserError: a line is not a result, its id is unknown or a duplicate, or its answer lacks what was asked for.
    """
    remedy = "not a line of batch results; remove the file and run the batch again"
    texts = {record.id: record.text for record in records}
    predictions: list[Prediction] = []
    failed: dict[str, str] = {}
    seen: set[str] = set()
    for number, result in json_lines(path, remedy, Result):
        id = result.custom_id
        if id not in texts or id in seen:
            problem = "is not from this run" if id not in texts else "is a duplicate"
            raise UserError(
                f"{rooted(path)}:{number}: the id {one_line(id)} {problem}; remove the file and run the batch again"
            )
        seen.add(id)
        response = result.response or Response()
        try:
            reply = reply_of(response.body, 0.0)
        except MalformedReply:
            status, reason = response.status_code or 0, _reason(result.error, response.body)
            if refuses_the_record(status):
                predictions.append(Prediction.refused(id, f"batch: {id}: HTTP {status}: {reason}"))
            else:
                failed[id] = reason
        else:
            lack = problem_of(reply, manifest.prompt, texts[id], _sampling(manifest, id in padded))
            if lack == PADDED:
                failed[id] = FILLED
            elif lack:
                raise RequestRefused(f"{rooted(path)}:{number}: {shown(id)}: {lack}")
            else:
                predictions.append(prediction_of(id, reply))
    return predictions, failed


def _reason(error: Any, body: Any) -> str:
    said = error or body
    while isinstance(said, dict):
        said = said.get("message") or said.get("error")
    return one_line(said if said else "malformed reply", 100)
