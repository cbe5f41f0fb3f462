"""`ner-eval predict` against the real vLLM server: alone, behind a fault proxy, stopped, restarted."""

import json
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, drop, failure
from ner_data.prompt import PromptSpec
from ner_eval.inference.request import PADDED
from ner_eval.runs.manifest import read_manifest
from ner_eval.runs.predictions import read_predictions

from .test_structured import forced, has_optional_white_space

pytestmark = pytest.mark.serve
PREDICT = ("predict", "--corpus", "demo", "--prompt", "data/alpaca/demo.prompt.json", "--concurrency", "16")


def answers(run: str) -> list[tuple[str, str, str, int, int]]:
    """Everything that two runs of the same model must agree on: all but the seconds."""
    predictions = read_predictions(Path("runs") / run)
    return [(p.id, p.answer, p.finish_reason, p.prompt_tokens, p.completion_tokens) for p in predictions]


def test_every_record_gets_an_answer(work, ner_eval, server) -> None:
    model = server.models[0]
    ended = ner_eval(*PREDICT, "--model", model, "--base-url", server.base_url, "--run", "r")
    assert ended.code == 0, ended.err
    stored = answers("r")
    assert [id for id, *_ in stored] == [f"demo-test-{n}" for n in range(40)]
    assert all(reason in ("stop", "length") and prompt > 50 and tokens > 0 for _, _, reason, prompt, tokens in stored)
    assert "vllm (server)" in read_manifest(Path("runs/r")).tool_versions


def test_a_model_that_is_not_served_is_refused_and_the_served_ones_named(work, ner_eval, server) -> None:
    ended = ner_eval(*PREDICT, "--model", "no-such-model", "--base-url", server.base_url)
    assert ended.code == 2 and len(ended.lines) == 1
    assert all(name in ended.lines[0] for name in ["no-such-model", *server.models])
    assert not Path("runs").exists()


def test_a_text_that_is_too_long_is_refused_with_the_servers_words_and_the_others_are_answered(
    work, ner_eval, server
) -> None:
    gold = work / "data/gold/demo/test.jsonl"
    lines = gold.read_text(encoding="utf-8").splitlines()
    lines[20] = json.dumps({"id": "demo-test-20", "text": "长" * 20_000, "entities": None})
    gold.write_text("\n".join(lines), encoding="utf-8")
    ended = ner_eval(*PREDICT, "--model", server.models[0], "--base-url", server.base_url, "--run", "r")
    assert ended.code == 1 and len(ended.lines) == 1
    assert "demo-test-20" in ended.lines[0] and "--max-model-len" in ended.lines[0]
    stored = read_predictions(Path("runs/r"))
    assert len(stored) == 40 and [prediction.id for prediction in stored if prediction.error] == ["demo-test-20"]


def test_a_prompt_that_allows_longer_answers_than_the_context_has_room_for_is_answered(work, ner_eval, server) -> None:
    spec = work / "data/alpaca/demo.prompt.json"
    replace(PromptSpec.load(spec), max_tokens=5_000).save(spec)
    ended = ner_eval(*PREDICT, "--model", server.models[0], "--base-url", server.base_url, "--limit", 3)
    assert ended.code == 0, ended.err
    assert "3 answers" in ended.out


def test_one_network_fault_in_five_changes_no_answer(work, ner_eval, server) -> None:
    import random

    chance = random.Random(1)

    async def injected(proxy: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        if chance.random() < 0.2:
            return chance.choice([drop, failure(500), failure(429), failure(503), web.Response(text="{")])
        return None

    arguments = (*PREDICT, "--model", server.models[0])
    assert ner_eval(*arguments, "--base-url", server.base_url, "--run", "straight").code == 0
    with Faulty(injected, upstream=server.base_url) as proxy:
        assert ner_eval(*arguments, "--base-url", proxy.base_url, "--run", "proxied").code == 0
    assert len(proxy.asked) > 40 and len(proxy.answered) == 40
    assert answers("proxied") == answers("straight")


@pytest.mark.slow
def test_kill_9_against_the_real_server_loses_nothing_and_changes_no_answer(work, ner_eval, start, server) -> None:
    arguments = (*PREDICT, "--model", server.models[0], "--base-url", server.base_url)
    assert ner_eval(*arguments, "--run", "whole").code == 0
    kills = 0
    while True:
        before = len(read_predictions(Path("runs/killed")))
        process = start(*arguments, "--run", "killed", "--concurrency", 2)
        while len(read_predictions(Path("runs/killed"))) < min(40, before + 6) and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        process.communicate()
        if process.returncode == 0 or len(read_predictions(Path("runs/killed"))) == 40:
            break
        kills += 1
    assert kills >= 3
    assert ner_eval(*arguments, "--run", "killed").code == 0
    assert answers("killed") == answers("whole")


def stored_while_running(process: subprocess.Popen[str], run: str, least: int) -> int:
    while True:
        stored = len(read_predictions(Path("runs") / run))
        if stored >= least:
            return stored
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_server_that_freezes_for_30_seconds_costs_no_answer(work, ner_eval, start, own_server) -> None:
    arguments = (*PREDICT, "--model", "own", "--base-url", own_server.base_url, "--concurrency", 2)
    assert ner_eval(*arguments, "--run", "straight").code == 0
    process = start(*arguments, "--run", "frozen", "--timeout", 12)
    before = stored_while_running(process, "frozen", 5)
    assert before < 40
    own_server.signal(signal.SIGSTOP)
    time.sleep(30)
    own_server.signal(signal.SIGCONT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "does not answer" in err and "answers again" in err
    assert answers("frozen") == answers("straight")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_server_that_is_stopped_and_started_again_costs_no_answer(work, ner_eval, start, own_server) -> None:
    arguments = (*PREDICT, "--model", "own", "--base-url", own_server.base_url, "--concurrency", 2)
    assert ner_eval(*arguments, "--run", "straight").code == 0
    process = start(*arguments, "--run", "waited", "--patience", 600)
    stored_while_running(process, "waited", 5)
    own_server.stop()
    impatient = ner_eval(*arguments, "--run", "other", "--wait", 0)
    assert impatient.code == 2 and "make serve" in impatient.lines[0]
    own_server.start()
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert answers("waited") == answers("straight")

    process = start(*arguments, "--run", "continued", "--patience", 3)
    stored_while_running(process, "continued", 5)
    own_server.stop()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and "Traceback" not in err
    assert "of 40 answers are stored" in err and "same command again" in err
    own_server.start()
    own_server.wait()
    assert ner_eval(*arguments, "--run", "continued").code == 0
    assert answers("continued") == answers("straight")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_vllm_that_others_started_fills_up_json_with_white_space_and_a_grammar_does_not(own_server) -> None:
    """The same request as for our server, in `test_structured`."""
    answer, said = forced(own_server.base_url, "own", "json_grouped")
    assert said == [PADDED] and answer.startswith("{") and not has_optional_white_space(answer), answer


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_of_two_servers_one_is_killed_half_way_and_nothing_is_lost(work, ner_eval, start, server, own_server) -> None:
    """The last test with `own_server`, which stays dead."""
    single = (*PREDICT, "--model", "nano", "--base-url", server.base_url)
    assert ner_eval(*single, "--run", "single").code == 0
    asked = own_server.answered()
    process = start(*single, "--base-url", own_server.base_url, "--run", "two", "--concurrency", 4)
    before = stored_while_running(process, "two", 12)
    own_server.signal(signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert before < 40 and own_server.answered() - asked >= 3
    assert f"{own_server.base_url} does not answer" in err and "its requests go to the other 1" in err
    assert answers("two") == answers("single")
    for run in ("single", "two"):
        assert ner_eval("score", run).code == 0
    assert Path("runs/two/scores.json").read_bytes() == Path("runs/single/scores.json").read_bytes()
