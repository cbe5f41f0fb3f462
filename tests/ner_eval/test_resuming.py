"""A run continues after an interruption, and only with the same request."""

import asyncio
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, failure, slow
from ner_data.prompt import PromptSpec
from ner_eval.runs.predictions import read_predictions
from support import ROOT

RUN = Path("runs/nano-demo-test")
PREDICT = ("predict", "--model", "nano", "--corpus", "demo", "--wait", "0")
FILE = RUN / "predictions.jsonl"


def without_seconds(file: Path) -> list[dict[str, Any]]:
    return [{**json.loads(line), "seconds": 0} for line in file.read_text().splitlines()]


def test_a_complete_run_needs_no_server(work, ner_eval) -> None:
    with Faulty() as server:
        arguments = (*PREDICT, "--base-url", server.base_url)
        ner_eval(*arguments)
    before = FILE.read_bytes()
    assert ner_eval(*arguments).code == 0
    assert FILE.read_bytes() == before


def test_an_interrupted_run_asks_only_for_the_rest(work, ner_eval) -> None:
    with Faulty() as server:
        arguments = (*PREDICT, "--base-url", server.base_url)
        ner_eval(*arguments)
    whole = FILE.read_bytes()
    lines = whole.splitlines(keepends=True)
    # answers came in another order, the last one was cut off in the middle of a character
    FILE.write_bytes(b"".join(reversed(lines[:25])) + lines[25][:50])
    with Faulty() as server:
        assert ner_eval(*PREDICT, "--base-url", server.base_url).code == 0
    assert sorted(server.asked) == [f"林{n}在云帆科技任经理" for n in range(25, 40)]
    after = FILE.read_bytes().splitlines(keepends=True)
    assert after[:25] == lines[:25]
    assert without_seconds(FILE) == [{**json.loads(line), "seconds": 0} for line in lines]


def test_a_last_line_that_lacks_only_its_newline_is_kept(work, ner_eval) -> None:
    with Faulty() as server:
        ner_eval(*PREDICT, "--base-url", server.base_url)
        lines = FILE.read_bytes().splitlines(keepends=True)
        FILE.write_bytes(b"".join(lines[:39]).rstrip(b"\n"))
        ner_eval(*PREDICT, "--base-url", server.base_url)
    assert len(server.asked) == 41
    assert [p.id for p in read_predictions(RUN)] == [f"demo-test-{n}" for n in range(40)]


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        (("--limit", 3), "selection.limit: stored None, asked for 3"),
        (("--sample", 3), "selection.sample: stored None, asked for 3"),
        (("--openai-only",), "sampling.repetition_penalty: stored 1.0, asked for None"),
        (("--model", "other"), "model: stored 'nano', asked for 'other'"),
        (("--prompt", "other.json"), "prompt (system): stored"),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_a_run_is_not_continued_with_anything_else(work, ner_eval, arguments, difference, complete) -> None:
    spec = PromptSpec.load(work / "data/alpaca/demo.prompt.json")
    PromptSpec(spec.corpus, "另一个。", *(getattr(spec, f) for f in spec.__slots__[2:])).save(work / "other.json")
    with Faulty(models=("nano", "other")) as server:
        ner_eval(*PREDICT, "--base-url", server.base_url, "--run", "r")
        if not complete:
            data = Path("runs/r/predictions.jsonl").read_bytes()
            Path("runs/r/predictions.jsonl").write_bytes(data[:2000])
        before = Path("runs/r/predictions.jsonl").read_bytes()
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--run", "r", *arguments)
    assert ended.code == 2 and len(ended.lines) == 1
    assert difference in ended.lines[0]
    assert Path("runs/r/predictions.jsonl").read_bytes() == before
    assert len(server.asked) == 40


@pytest.mark.parametrize("complete", [True, False])
def test_a_run_is_not_continued_with_a_retrained_adapter(work, ner_eval, complete) -> None:
    shutil.copytree(ROOT / "data/nano", work / "adapter")
    shutil.copy(work / "data/alpaca/demo.prompt.json", work / "adapter/ner_prompt.json")
    with Faulty() as server:
        arguments = (*PREDICT, "--base-url", server.base_url, "--adapter", "adapter")
        assert ner_eval(*arguments).code == 0
        if not complete:
            FILE.write_bytes(FILE.read_bytes()[:2000])
        before = FILE.read_bytes()
        weights = work / "adapter/model.safetensors"
        data = bytearray(weights.read_bytes())
        for place in range(0, len(data), 100_000):  # as in training: changes everywhere, in place
            data[-1 - place] ^= 1
        weights.write_bytes(data)
        ended = ner_eval(*arguments)
        # Even if nobody names the adapter: the run knows its folder.
        unnamed = ner_eval(*PREDICT, "--base-url", server.base_url)
    assert ended.code == 2 and len(ended.lines) == 1 and "this run differs in weights: stored" in ended.lines[0]
    assert unnamed.code == 2 and unnamed.lines == ended.lines
    assert len(server.asked) == 40 and FILE.read_bytes() == before


def test_a_run_is_not_continued_with_another_server_version(work, ner_eval) -> None:
    with Faulty() as server:
        arguments = (*PREDICT, "--base-url", server.base_url)
        server.version = "0.1"
        assert ner_eval(*arguments).code == 0
        server.version = "0.2"
        assert ner_eval(*arguments).code == 0  # nothing is left to ask
        FILE.write_bytes(FILE.read_bytes()[:2000])
        ended = ner_eval(*arguments)
    assert ended.code == 2
    assert "differs in tool_versions.vllm (server): stored '0.1', asked for '0.2'" in ended.lines[0]


def test_a_run_is_not_continued_on_changed_gold(work, ner_eval) -> None:
    gold = work / "data/gold/demo/test.jsonl"
    with Faulty() as server:
        ner_eval(*PREDICT, "--base-url", server.base_url)
        gold.write_text(gold.read_text().replace("云帆", "云海"))
        ended = ner_eval(*PREDICT, "--base-url", server.base_url)
    assert ended.code == 2 and "gold_sha256" in ended.lines[0]


def test_answers_of_unknown_ids_are_refused(work, ner_eval) -> None:
    with Faulty() as server:
        ner_eval(*PREDICT, "--base-url", server.base_url)
        FILE.write_text(FILE.read_text().replace('demo-test-3"', 'demo-dev-3"'))
        ended = ner_eval(*PREDICT, "--base-url", server.base_url)
    assert ended.code == 2 and "1 ids are not from this corpus (demo-dev-3)" in ended.lines[0]


def test_two_processes_do_not_write_one_run(work, ner_eval, start) -> None:
    with Faulty(slow(0.2, 0.2)) as server:
        process = start(*PREDICT, "--base-url", server.base_url, "--concurrency", 1)
        while len(server.answered) < 3:
            assert process.poll() is None
            time.sleep(0.01)
        ended = ner_eval(*PREDICT, "--base-url", server.base_url)
        assert ended.code == 2 and "another process is writing this run" in ended.lines[0]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in err
    assert "of 40 answers are stored in" in err and "same command again" in err
    stored = len(read_predictions(RUN))
    assert len(server.answered) - 1 <= stored <= len(server.answered)  # one may have been in progress


def refuses(sentence: str) -> bool:
    """Two of the forty records are refused."""
    return sentence.startswith(("林07", "林23"))


async def refusing_slowly(server: Faulty, body: dict[str, Any]) -> web.Response | None:
    if refuses(server.asked[-1]):
        return failure(400, "too long")
    await asyncio.sleep(random.uniform(0.1, 0.3))
    return None


@pytest.mark.parametrize("kills_wanted", [8, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_kill_9_at_any_moment_loses_and_duplicates_nothing(work, ner_eval, start, kills_wanted) -> None:
    """Rounds of kills on one run, refused records in between; each complete run is asked again with --retry-refused."""
    with Faulty(refusing_slowly) as server:
        ner_eval(*PREDICT, "--base-url", server.base_url, "--run", "whole")
    kills = kept = rounds = 0
    with Faulty(refusing_slowly) as server:
        while kills < kills_wanted:
            rounds += 1
            run = f"killed{rounds}"
            file = Path(f"runs/{run}/predictions.jsonl")
            arguments = (*PREDICT, "--base-url", server.base_url, "--run", run, "--concurrency", 4)
            while kills < kills_wanted:
                stored = {p.id for p in read_predictions(file.parent)}
                before = len(server.asked)
                process = start(*arguments)
                size = file.stat().st_size if stored else 0
                # Every other time, something new is on disk when the process dies.
                while process.poll() is None and (
                    len(server.asked) <= before + 2
                    or (kills % 2 and (not file.exists() or file.stat().st_size == size))
                ):
                    time.sleep(0.01)
                time.sleep(0.05 * (kills % 5))
                process.kill()
                process.communicate()
                again = {f"demo-test-{int(text[1:3])}" for text in server.asked[before:]} & stored
                assert not again
                assert stored <= {p.id for p in read_predictions(file.parent)}
                if process.returncode >= 0:
                    break
                kept += bool(stored)
                kills += 1
            assert ner_eval(*arguments).code == 1
            assert comparable(file) == comparable(Path("runs/whole/predictions.jsonl"))
            assert {path.name for path in file.parent.iterdir()} == {"manifest.json", "predictions.jsonl"}
    assert kills >= kills_wanted and kept >= kills_wanted / 4
    manifests = [json.loads(Path(f"runs/{name}/manifest.json").read_text()) for name in ("killed1", "whole")]
    assert {k for k in manifests[0] if manifests[0][k] != manifests[1][k]} - {"started", "seconds"} == {"base_urls"}


def comparable(file: Path) -> list[dict[str, Any]]:
    """A run's lines without their times and addresses."""
    return [{**line, "error": line.get("error", "").partition("demo-test")[2]} for line in without_seconds(file)]


@pytest.mark.parametrize("kills_wanted", [4, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_kill_9_while_refused_records_are_asked_again_loses_no_answer(work, ner_eval, start, kills_wanted) -> None:
    async def refuse_odd(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        return failure(400, "too long") if int(server.asked[-1][1:3]) % 2 else None

    kills = rounds = 0
    while kills < kills_wanted:
        rounds += 1
        run = f"retried{rounds}"
        with Faulty(refuse_odd) as server:
            arguments = (*PREDICT, "--base-url", server.base_url, "--run", run, "--concurrency", 4)
            assert ner_eval(*arguments).code == 1
            folder = Path("runs") / run
            server.script = slow(0.2, 0.6)
            while kills < kills_wanted:
                stored = {p.id: p for p in read_predictions(folder)}
                assert len(stored) == 40
                refused = {id for id, p in stored.items() if p.error}
                server.asked.clear()
                process = start(*arguments, "--retry-refused")
                while process.poll() is None and len(server.asked) < 2 + kills % 5:
                    time.sleep(0.01)
                time.sleep(0.15 * (kills % 7))
                process.kill()
                process.communicate()
                assert {f"demo-test-{int(text[1:3])}" for text in server.asked} <= refused
                after = {p.id: p for p in read_predictions(folder)}
                assert after.keys() == stored.keys() and all(after[id] == stored[id] for id in stored.keys() - refused)
                if process.returncode >= 0:
                    break
                kills += 1
            server.script = None
            assert ner_eval(*arguments, "--retry-refused").code == 0
            lines = (folder / "predictions.jsonl").read_text().splitlines()
            assert [json.loads(line)["id"] for line in lines] == [f"demo-test-{n}" for n in range(40)]


def test_scores_while_a_run_is_asked_and_two_retries_at_once(work, ner_eval, start) -> None:
    async def refuse_odd(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        return failure(400, "too long") if int(server.asked[-1][1:3]) % 2 else None

    with Faulty(refuse_odd) as server:
        arguments = (*PREDICT, "--base-url", server.base_url)
        assert ner_eval(*arguments).code == 1
        server.script = slow(0.1, 0.2)
        server.asked.clear()
        processes = [start(*arguments, "--retry-refused", "--concurrency", 2) for _ in range(2)]
        while any(process.poll() is None for process in processes):
            ended = ner_eval("score", "nano-demo-test")
            assert ended.code == 0, ended.err
        errors = [process.communicate()[1] for process in processes]
        codes = sorted(process.returncode for process in processes)
    assert codes in ([0, 0], [0, 2]) and all("Traceback" not in err for err in errors)
    assert len(server.asked) == len(set(server.asked)) == 20
    assert not any(p.error for p in read_predictions(RUN))


def test_a_full_disk_while_refused_records_are_asked_again_loses_nothing(work, ner_eval, monkeypatch) -> None:
    async def refuse_odd(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        return failure(400, "too long") if int(server.asked[-1][1:3]) % 2 else None

    def full(file: int, data: bytes) -> int:
        if file > 2 and len(data) > 20:  # a disk that fills up takes part of a line
            real(file, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    real = os.write
    with Faulty(refuse_odd) as server:
        arguments = (*PREDICT, "--base-url", server.base_url)
        assert ner_eval(*arguments).code == 1
        before = read_predictions(RUN)
        server.script = None
        monkeypatch.setattr(os, "write", full)
        ended = ner_eval(*arguments, "--retry-refused")
        assert ended.code == 2 and ended.lines == [f"ner-eval: No space left on device: {FILE}"]
        monkeypatch.setattr(os, "write", real)
        after = {p.id: p for p in read_predictions(RUN)}
        assert all(after[p.id] == p for p in before if not p.error) and len(after) == 40
        assert ner_eval(*arguments, "--retry-refused").code == 0
    assert not any(p.error for p in read_predictions(RUN))
