"""Asking offline: ``ner-eval predict --batch`` writes a run's requests as an OpenAI batch file, and reads the results.

In between, ``vllm run-batch`` or any service for such files answers the requests.

A line of ``batch-requests.jsonl`` (``body`` is the body of the HTTP request)::

    {"custom_id": "demo-test-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "nano", ...}}

A line of ``batch-results.jsonl``::

    {"id": "vllm-1", "custom_id": "demo-test-1", "error": null, "response":
        {"status_code": 200, "request_id": "vllm-batch-1", "body": {"choices": [...], "usage": {...}}}}
"""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, one_line, rooted
from ner_common.files import json_lines, write_atomically
from ner_data.gold import Record
from ner_eval.inference.reply import MalformedReply, reply_of
from ner_eval.inference.request import request_body
from ner_eval.runs.manifest import Manifest
from ner_eval.runs.predictions import Prediction, append, begin
from ner_eval.runs.writer import locked_run

REQUESTS = "batch-requests.jsonl"
RESULTS = "batch-results.jsonl"


def work_offline(run: Path, manifest: Manifest, records: Sequence[Record], adapter: Path | None) -> bool:
    """Read the results, if there are any, and write requests for the records without an answer.

    Returns:
        Whether every record has an answer.

    Raises:
        UserError: the run asked something else, or the results belong to another run.
    """
    ids = [record.id for record in records]
    with locked_run(run):
        stored = begin(run, manifest, ids)
        if (run / RESULTS).exists():
            predictions, failures = read_results(run / RESULTS, set(ids))
            new = [prediction for prediction in predictions if prediction.id not in stored]
            append(run, new)
            stored.update(prediction.id for prediction in new)
            print(f"{rooted(run / RESULTS)}: read {len(predictions) + failures.total()}, {_counts(new, failures)}")
        left = [record for record in records if record.id not in stored]
        if left:
            write_requests(run / REQUESTS, manifest, left)
            (run / RESULTS).unlink(missing_ok=True)  # its answers are stored; failed requests are sent again
            print(f"{rooted(run / REQUESTS)}: {len(left)} requests; have them answered, for example with")
            print(f"  {command(run, manifest.model, adapter)}")
            print("then run the same command again")
    return not left


def command(run: Path, model: str, adapter: Path | None) -> str:
    """The vLLM command that answers the requests (the CPU build has no ``vllm`` command)."""
    files = ["-i", rooted(run / REQUESTS), "-o", rooted(run / RESULTS)]
    words = ["python", "-m", "vllm.entrypoints.openai.run_batch", *files, "--model", "BASE_MODEL_FOLDER"]
    named = ["--enable-lora", "--lora-modules", f"{model}={adapter}"] if adapter else ["--served-model-name", model]
    return shlex.join([*words, *named, "--generation-config", "vllm"])


def _counts(new: Sequence[Prediction], failures: Counter[str]) -> str:
    failed = "".join(f" ({count} x {reason})" for reason, count in failures.most_common(5))
    return f"stored {len(new)} new answers, failed {failures.total()}{failed}"


def write_requests(path: Path, manifest: Manifest, records: Iterable[Record]) -> None:
    with write_atomically(path) as file:
        for record in records:
            body = request_body(manifest.model, manifest.prompt, record.text, manifest.sampling)
            line = {"custom_id": record.id, "method": "POST", "url": "/v1/chat/completions", "body": body}
            # ASCII: a text may hold lone surrogates, which UTF-8 cannot.
            file.write(json.dumps(line) + "\n")


def read_results(path: Path, ids: set[str]) -> tuple[list[Prediction], Counter[str]]:
    """The answers of a batch results file, and why requests failed.

    Raises:
        UserError: a line is not a result, or its id is unknown or a duplicate.
    """
    predictions: list[Prediction] = []
    failures: Counter[str] = Counter()
    seen: set[str] = set()
    for number, value in json_lines(path, "let the batch run first"):
        where = f"{rooted(path)}:{number}"
        id = value.get("custom_id") if isinstance(value, dict) else None
        if not isinstance(id, str) or "response" not in value:
            raise UserError(f"{where}: not a line of batch results; remove the file and run the batch again")
        if id not in ids or id in seen:
            problem = "is not from this run" if id not in ids else "is a duplicate"
            raise UserError(f"{where}: the id {one_line(id)} {problem}; remove the file and run the batch again")
        seen.add(id)
        try:
            reply = reply_of((value["response"] or {}).get("body"), 0.0)
        except MalformedReply:
            failures[_reason(value)] += 1
        else:
            fields = (reply.answer, reply.finish_reason, reply.prompt_tokens, reply.completion_tokens, reply.seconds)
            predictions.append(Prediction(id, *fields))
    return predictions, failures


def _reason(value: dict[str, Any]) -> str:
    error = value.get("error")
    while isinstance(error, dict):
        error = error.get("message") or error.get("error")
    return one_line(error if error else "malformed reply", 100)
