"""`ner-eval predict`: what is asked, what is stored, what is refused."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, failure, slow
from ner_data.prompt import PromptSpec
from ner_eval.runs.manifest import read_manifest
from ner_eval.runs.predictions import read_predictions

RUN = Path("runs/nano-demo-test")
PREDICT = ("predict", "--model", "nano", "--corpus", "demo", "--wait", "0")
FILE = RUN / "predictions.jsonl"


def test_every_record_is_asked_once_and_stored_in_gold_order(work, ner_eval) -> None:
    with Faulty(slow(0.01, 0.05)) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--concurrency", 8)
    assert ended.code == 0, ended.err
    seconds = read_manifest(RUN).seconds
    assert 0.05 < seconds < 60  # 40 answers, 8 at a time, each after 10 ms or more
    assert f"40 answers, 120 tokens, in {seconds:.0f} s ({40 / seconds:.1f} answers/s), 0 truncated" in ended.out
    assert [p.id for p in read_predictions(RUN)] == [f"demo-test-{n}" for n in range(40)]
    assert read_predictions(RUN)[7].answer == '[{"label": "name", "text": "林0"}]'
    assert len(server.asked) == len(set(server.asked)) == 40
    assert server.most_in_flight == 8
    assert {path.name for path in RUN.iterdir()} == {"manifest.json", "predictions.jsonl"}


def test_a_request_carries_prompt_and_sampling_explicitly(work, ner_eval) -> None:
    spec = PromptSpec.load(work / "data/alpaca/demo.prompt.json")
    with Faulty() as server:
        ner_eval(*PREDICT, "--base-url", server.base_url, "--limit", 1, "--api-key", "secret")
    assert server.bodies == [
        {
            "model": "nano",
            "messages": spec.messages("林00在云帆科技任经理"),
            "temperature": 0,
            "top_p": 1,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "repetition_penalty": 1.0,
            "seed": 0,
            "max_tokens": spec.max_tokens,
        }
    ]
    assert server.headers[0]["Authorization"] == "Bearer secret"
    stored = read_manifest(Path("runs/nano-demo-test-first1"))
    assert stored.prompt == spec and stored.selection["limit"] == 1 and stored.base_urls == (server.base_url,)
    assert "secret" not in Path("runs/nano-demo-test-first1/manifest.json").read_text()


def test_openai_only_sends_no_other_parameters(work, ner_eval) -> None:
    async def strict(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        return failure(400, "Unrecognized: repetition_penalty") if "repetition_penalty" in body else None

    with Faulty(strict) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url)
        assert ended.code == 2 and "--openai-only" in ended.lines[0]
        assert ner_eval(*PREDICT, "--base-url", server.base_url, "--openai-only").code == 0


def test_a_sample_is_the_same_for_the_same_seed_and_in_gold_order(work, ner_eval) -> None:
    def ids(*arguments: object) -> list[int]:
        with Faulty() as server:
            assert ner_eval(*PREDICT, "--base-url", server.base_url, "--run", "s", *arguments).code == 0
        numbers = [int(p.id.rsplit("-", 1)[1]) for p in read_predictions(Path("runs/s"))]
        for path in Path("runs/s").iterdir():
            path.unlink()
        return numbers

    first = ids("--sample", 10, "--seed", 1)
    assert first == sorted(first) and len(set(first)) == 10
    assert first == ids("--sample", 10, "--seed", 1) != ids("--sample", 10, "--seed", 2)
    assert ids("--sample", 99) == list(range(40))


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("manifest.json", None, "has no manifest.json next to it"),
        ("manifest.json", "{}", "is not the manifest of a run"),
        ("manifest.json", "{", "not JSON"),
        ("predictions.jsonl", "{}\n", "not a prediction"),
    ],
)
def test_a_broken_run_folder_is_a_one_line_error(work, ner_eval, file, content, problem) -> None:
    with Faulty() as server:
        ner_eval(*PREDICT, "--base-url", server.base_url)
        if content is None:
            (RUN / file).unlink()
        else:
            (RUN / file).write_text(content)
        ended = ner_eval(*PREDICT, "--base-url", server.base_url)
    assert ended.code == 2 and len(ended.lines) == 1 and problem in ended.lines[0]


def test_a_full_disk_is_a_one_line_error_and_the_run_resumes(work, ner_eval, monkeypatch) -> None:
    real, written = os.write, []

    def full(file: int, data: bytes) -> int:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(real(file, data[: max(1, len(data) // 2)]))  # a disk that fills up takes part of a line
        return written[-1]

    monkeypatch.setattr(os, "write", full)
    with Faulty() as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--concurrency", 4)
        assert ended.code == 2 and ended.lines == [f"ner-eval: No space left on device: {FILE}"]
    monkeypatch.setattr(os, "write", real)
    stored = {p.id for p in read_predictions(RUN)}
    with Faulty() as server:
        assert ner_eval(*PREDICT, "--base-url", server.base_url).code == 0
    assert len(server.asked) == 40 - len(stored)


def test_help_and_bad_arguments_are_quick_and_plain(work, start) -> None:
    process: subprocess.Popen[str] = start("predict", "--help")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "--sample" in out
    for arguments in (
        ("--concurrency", "0"),
        ("--base-url", "localhost:8000"),
        ("--timeout", "nan"),
        ("--limit", "x"),
    ):
        process = start(*PREDICT, *arguments)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2 and "Traceback" not in err
