import json
import shlex
import subprocess
from pathlib import Path

import pytest

from faulty import Faulty
from ner_eval.runs.manifest import read_manifest
from ner_eval.runs.predictions import read_predictions
from support import ROOT, tool

from .test_real_server import answers

RUN = Path("runs/nano-demo-test")
REQUESTS, RESULTS = RUN / "batch-requests.jsonl", RUN / "batch-results.jsonl"
BATCH = ("predict", "--batch", "--model", "nano", "--corpus", "demo")


def result(id: str, answer: str = "[]", reason: str = "stop") -> dict:
    choice = {"message": {"content": answer}, "finish_reason": reason}
    body = {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    return {"id": "x", "custom_id": id, "response": {"status_code": 200, "body": body}, "error": None}


def write(*results: object, file: Path = RESULTS) -> None:
    file.write_text("".join(json.dumps(value) + "\n" for value in results), encoding="utf-8")


def ids(numbers: range) -> list[str]:
    return [f"demo-test-{n}" for n in numbers]


def test_requests_are_those_a_server_would_get_and_results_become_the_run(work, ner_eval) -> None:
    ended = ner_eval(*BATCH)
    assert ended.code == 0 and "40 requests" in ended.out
    assert "  .venv-serve/bin/ner-model answer-batch nano=MODEL_FOLDER --requests runs/" in ended.out
    requests = [json.loads(line) for line in REQUESTS.read_text().splitlines()]
    with Faulty() as server:
        ner_eval(*BATCH[:1], *BATCH[2:], "--base-url", server.base_url, "--run", "online", "--concurrency", 1)
    assert [request["custom_id"] for request in requests] == ids(range(40))
    assert [request["body"] for request in requests] == server.bodies
    assert {(request["method"], request["url"]) for request in requests} == {("POST", "/v1/chat/completions")}

    write(*(result(id) for id in reversed(ids(range(40)))))
    ended = ner_eval(*BATCH)
    assert ended.code == 0 and "stored 40 new answers, failed 0" in ended.out and "40 answers, 120 tokens" in ended.out
    assert [p.id for p in read_predictions(RUN)] == ids(range(40))
    assert read_manifest(RUN).base_urls == ()
    assert not REQUESTS.exists()


def test_failed_requests_are_asked_again_offline_or_online(work, ner_eval) -> None:
    ner_eval(*BATCH)
    failed = {"id": "x", "custom_id": "demo-test-1", "response": None, "error": {"message": "too long"}}
    write(*(result(id) for id in ids(range(2, 38))), failed)
    ended = ner_eval(*BATCH)
    assert "read 37, stored 36 new answers, failed 1 (1 x 'too long')" in ended.out and "4 requests" in ended.out
    assert not RESULTS.exists() and len(REQUESTS.read_text().splitlines()) == 4
    with Faulty() as server:
        assert ner_eval(*BATCH[:1], *BATCH[2:], "--base-url", server.base_url).code == 0
    assert len(server.asked) == 4
    assert [p.id for p in read_predictions(RUN)] == ids(range(40))


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([result("demo-dev-1")], "1: the id 'demo-dev-1' is not from this run"),
        ([result("demo-test-1"), result("demo-test-1")], "2: the id 'demo-test-1' is a duplicate"),
        ([{"custom_id": "demo-test-1"}], "1: lacks response; not a line of batch results"),
        ([[]], "1: expected object, got array; not a line of batch results"),
    ],
)
def test_results_of_something_else_are_refused_and_nothing_is_stored(work, ner_eval, lines, problem) -> None:
    ner_eval(*BATCH)
    write(*lines)
    ended = ner_eval(*BATCH)
    assert ended.code == 2 and len(ended.lines) == 1 and problem in ended.lines[0]
    assert read_predictions(RUN) == []


@pytest.mark.parametrize(
    ("flags", "answer", "problem"),
    [
        (("--structured", "json"), "no idea", "the server ignores --structured"),
        (("--structured", "grammar"), '[{"text":"谁","label":"name"}]', "the server ignores --structured"),
        (("--confidence",), "[]", "the server sends no log-probabilities"),
    ],
)
def test_results_that_lack_what_was_asked_for_are_refused_as_a_server_is(
    work, ner_eval, flags: tuple[str, str], answer: str, problem: str
) -> None:
    command = (*BATCH, "--run", "r", *flags)
    ner_eval(*command)
    write(result("demo-test-0", answer), file=Path("runs/r/batch-results.jsonl"))
    ended = ner_eval(*command)
    assert ended.code == 2 and len(ended.lines) == 1
    assert f"batch-results.jsonl:1: demo-test-0: {problem}" in ended.lines[0]
    assert read_predictions(Path("runs/r")) == []


def test_json_that_was_filled_up_with_white_space_is_asked_for_again_with_a_grammar(work, ner_eval) -> None:
    command = (*BATCH, "--run", RUN, "--structured", "json")
    ner_eval(*command)
    filled = [result(id, "[" + " " * 99, "length") for id in ids(range(2))]
    write(*filled, *(result(id) for id in ids(range(2, 38))))  # and two have no result
    ended = ner_eval(*command)
    assert "stored 36 new answers, failed 2 (2 x its JSON is filled up with white space" in ended.out
    for _ in range(2):  # it stays so if the requests are written again
        bodies = [json.loads(line)["body"] for line in REQUESTS.read_text().splitlines()]
        assert ["structured_outputs" in body for body in bodies] == [True, True, False, False]
        assert ["response_format" in body for body in bodies] == [False, False, True, True]
        ner_eval(*command)
    write(result("demo-test-0", '[{"text":"谁","label":"name"}]'))  # which the schema allows, and the grammar does not
    assert "the server ignores --structured" in ner_eval(*command).lines[0]
    write(*(result(id) for id in (*ids(range(2)), *ids(range(38, 40)))))
    assert ner_eval(*command).code == 0 and len(read_predictions(RUN)) == 40


@pytest.mark.serve
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_vllm_without_a_server_gives_the_answers_that_the_server_gives(work, ner_eval, server, adapter) -> None:
    name = server.models[1]
    arguments = ("predict", "--model", name, "--corpus", "demo", "--adapter", adapter)
    assert ner_eval(*arguments, "--base-url", server.base_url, "--run", "online").code == 0
    ended = ner_eval(*arguments, "--batch", "--run", "offline")
    [command] = [shlex.split(line) for line in ended.out.splitlines() if "answer-batch" in line]
    base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    options = ["--base", str(ROOT / base), "--max-model-len", "1024"]
    subprocess.run([tool(".venv-serve", "ner-model"), *command[1:], *options], check=True, capture_output=True)
    assert ner_eval(*arguments, "--batch", "--run", "offline").code == 0
    assert answers("offline") == answers("online")
    for run in ("offline", "online"):
        assert ner_eval("score", f"runs/{run}").code == 0
    assert Path("runs/offline/scores.json").read_bytes() == Path("runs/online/scores.json").read_bytes()
