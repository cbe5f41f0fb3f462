"""Faults during a run: what is retried, what ends it, and that no answer is lost or doubled."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, Script, completion, drop, failure, slow
from ner_eval.inference import client
from ner_eval.inference.client import Client
from ner_eval.runs.predictions import read_predictions

RUN = Path("runs/nano-demo-test")
PREDICT = ("predict", "--model", "nano", "--corpus", "demo", "--wait", "0", "--concurrency", "8")


def first_times(response: Any, times: int = 1) -> Script:
    """The first attempts at every sentence get this response, the next ones the normal answer."""

    async def script(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        sentence = server.asked[-1]
        if server.asked.count(sentence) > times:
            return None
        return response() if callable(response) else response

    return script


def always(response: Any) -> Script:
    return first_times(response, 10**9)


def assert_complete_and_right() -> None:
    predictions = read_predictions(RUN)
    assert [p.id for p in predictions] == [f"demo-test-{n}" for n in range(40)]
    for p in predictions:
        assert json.loads(p.answer) == [{"label": "name", "text": f"林{int(p.id.rsplit('-', 1)[1]):02}"[:2]}]


@pytest.mark.parametrize(
    "response",
    [
        lambda: failure(500),
        lambda: failure(502),
        lambda: failure(503),
        lambda: failure(504),
        lambda: failure(408),
        lambda: failure(429),
        lambda: web.Response(text="<html>proxy</html>"),
        lambda: web.Response(text=""),
        lambda: web.json_response({"choices": []}),
        lambda: web.json_response({"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}),
        lambda: web.json_response({"choices": [{"message": {"content": "[]"}, "finish_reason": "stop"}], "usage": 3}),
        lambda: web.json_response([1]),
        lambda: web.Response(body=b"[" * 100_000),
        lambda: completion('[{"label": "name", "te', "abort"),
        drop,
    ],
)
def test_a_passing_fault_is_retried(work, ner_eval, response) -> None:
    with Faulty(first_times(response, 2)) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url)
    assert ended.code == 0, ended.err
    assert len(server.asked) == 3 * 40 and len(server.answered) == 40
    assert_complete_and_right()


def test_a_hanging_request_is_retried_after_its_timeout(work, ner_eval) -> None:
    async def hang(server: Faulty, body: dict[str, Any]) -> None:
        if server.asked.count(server.asked[-1]) == 1 and "7" in server.asked[-1]:
            await asyncio.sleep(60)

    with Faulty(hang) as server:
        started = time.monotonic()
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--timeout", "0.7")
    assert ended.code == 0, ended.err
    assert time.monotonic() - started > 0.7
    assert_complete_and_right()


def waits_of(response: Any, times: int, monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """The waits of 60 requests that fail together, before each new attempt, in seconds; all cut short."""
    waits: dict[Any, list[float]] = {}
    real = asyncio.sleep

    async def recorded(seconds: float, *result: Any) -> None:
        waits.setdefault(asyncio.current_task(), []).append(seconds)
        await real(0)

    async def ask_all(server: Faulty) -> list[list[float]]:
        async with Client([server.base_url]) as asker:
            texts = [f"林{n:02}" for n in range(60)]
            bodies = [{"messages": [{}, {"content": f"文本：\n{text}"}]} for text in texts]
            tasks = [asyncio.create_task(asker.ask(body, "x")) for body in bodies]
            await asyncio.gather(*tasks)
            return [waits[task] for task in tasks]

    with Faulty(first_times(response, times)) as server:
        monkeypatch.setattr(asyncio, "sleep", recorded)
        return asyncio.run(ask_all(server))


def test_waits_grow_to_a_bound_and_are_spread(monkeypatch) -> None:
    monkeypatch.setattr(client, "FIRST_DELAY", 0.5)
    monkeypatch.setattr(client, "LONGEST_DELAY", 6.0)
    waits = waits_of(lambda: failure(500), 7, monkeypatch)
    assert all(len(own) == 7 for own in waits)
    for column, longest in zip(zip(*waits, strict=True), [0.5, 1, 2, 4, 6, 6, 6], strict=True):
        assert 0.4 * longest < min(column) < 0.75 * longest
        assert 0.75 * longest < max(column) <= longest
        assert len(set(column)) == 60  # no two requests come back together


def test_retry_after_is_the_least_wait_and_is_spread(monkeypatch) -> None:
    waits = waits_of(lambda: failure(429, **{"Retry-After": "3"}), 2, monkeypatch)
    for column in zip(*waits, strict=True):
        assert 3 <= min(column) < 3.3 < max(column) < 6
        assert len(set(column)) == 60


def test_retry_after_is_honoured(work, ner_eval) -> None:
    times: dict[str, list[float]] = {}

    async def busy(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        seen = times.setdefault(server.asked[-1], [])
        seen.append(time.monotonic())
        return failure(429, **{"Retry-After": "1"}) if len(seen) == 1 else None

    with Faulty(busy) as server:
        assert ner_eval(*PREDICT, "--base-url", server.base_url, "--limit", 8).code == 0
    assert len(times) == 8
    assert all(again - first >= 1.0 for first, again in times.values())


@pytest.mark.parametrize(
    ("response", "words", "attempts"),
    [
        (lambda: failure(401, "Unauthorized"), "HTTP 401: 'Unauthorized'; give the server's key with --api-key", 1),
        (
            lambda: failure(404, "The model `nano` does not exist."),
            "is the address right (it ends in /v1), and is the model still served?",
            1,
        ),
        (lambda: failure(400, "This model's maximum context length is 64 tokens."), "larger --max-model-len", 1),
        (lambda: failure(400, "request (90 tokens) exceeds the available context size (64 tokens)"), "--ctx-size", 1),
        (lambda: failure(422, "no"), "the server refuses this request", 1),
        (lambda: failure(500, "boom\nbang"), "HTTP 500: 'boom\\nbang' (8 attempts)", 8),
        (lambda: web.Response(text="garbage"), "malformed reply (not a chat completion): 'garbage' (8 attempts)", 8),
        (
            lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}),
            "HTTP 302: ''; is the address right",
            1,
        ),
    ],
)
def test_a_lasting_fault_is_a_one_line_error(work, ner_eval, response, words, attempts) -> None:
    with Faulty(always(response)) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--limit", 1, "--patience", 1)
    assert ended.code == 2 and len(ended.lines) == 1
    assert words in ended.lines[0] and len(server.asked) == attempts
    assert not Path("runs").exists() or not list(Path("runs").iterdir())  # nothing asked, nothing written


@pytest.mark.parametrize("response", [lambda: failure(429, "busy"), lambda: failure(503, "loading"), drop])
def test_patience_is_bounded(work, ner_eval, response) -> None:
    with Faulty(always(response)) as server:
        started = time.monotonic()
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--patience", 1)
    assert ended.code == 2 and len(ended.lines) == 1
    assert time.monotonic() - started > 1
    assert "0 of 40 answers are stored" in ended.lines[0] and "same command again" in ended.lines[0]
    assert not list(Path("runs").glob("*"))


def test_a_server_that_hangs_forever_is_a_one_line_error(work, ner_eval) -> None:
    with Faulty(slow(600, 600)) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--timeout", "0.3", "--patience", 1)
    assert ended.code == 2 and len(ended.lines) == 1 and "no answer" in ended.lines[0]
    assert not list(Path("runs").glob("*"))


@pytest.mark.parametrize("death", ["connections are cut", "the server ends"])
def test_a_server_that_dies_half_way_is_a_one_line_error_and_the_run_resumes(work, ner_eval, death) -> None:
    async def dies(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        if len(server.answered) < 17:
            return None
        if death == "the server ends":
            server._stop.set()
        return drop

    with Faulty(dies) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--patience", 1)
    assert ended.code == 2 and len(ended.lines) == 1, ended.err
    kept = read_predictions(RUN)
    # A server that dies may take the answers in progress with it.
    assert len(kept) == 17 if death == "connections are cut" else 9 <= len(kept) <= 17
    assert f"{len(kept)} of 40 answers are stored in {RUN}: start the server" in ended.lines[0]
    with Faulty() as server:
        assert ner_eval(*PREDICT, "--base-url", server.base_url).code == 0
    assert len(server.asked) == 40 - len(kept)
    assert {p.id: p for p in kept}.items() <= {p.id: p for p in read_predictions(RUN)}.items()
    assert_complete_and_right()


def test_a_refused_record_keeps_the_answers_to_the_others(work, ner_eval) -> None:
    async def refuse(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        refused = server.asked[-1].startswith("林20")
        await asyncio.sleep(0.02)
        return failure(400, "no") if refused else None

    with Faulty(refuse) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url)
        assert ended.code == 1 and "demo-test-20" in ended.lines[0]
        stored = read_predictions(RUN)
        assert len(stored) == 40 and [p.id for p in stored if p.error] == ["demo-test-20"]
        server.script = None
        assert ner_eval(*PREDICT, "--base-url", server.base_url, "--retry-refused").code == 0
    assert_complete_and_right()


def test_one_fault_in_five_loses_and_duplicates_nothing(work, ner_eval) -> None:
    import random

    chance = random.Random(5)

    async def injected(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        if chance.random() < 0.2:
            return chance.choice([drop, failure(500), failure(429), failure(503), web.Response(text="{")])
        return None

    with Faulty(injected) as server:
        assert ner_eval(*PREDICT, "--base-url", server.base_url).code == 0
    assert sorted(server.answered) == sorted(set(server.answered))
    assert_complete_and_right()


def test_odd_answers_are_stored_as_they_are(work, ner_eval) -> None:
    answers = ["", None, "\ud800\x00\u2028\r\n", "x" * 2048, '"', "中\U0001f600"]

    async def odd(server: Faulty, body: dict[str, Any]) -> web.Response:
        number = int(server.asked[-1][1:3])
        return completion(answers[number % 6], "length")

    with Faulty(odd) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url)
    assert ended.code == 0 and "40 truncated by max_tokens" in ended.out
    expected = [(answers[n % 6] or "").replace("\ud800", "\ufffd") for n in range(40)]  # UTF-8 has no lone surrogates
    assert [p.answer for p in read_predictions(RUN)] == expected


def test_an_answer_longer_than_the_tokens_that_were_asked_for_is_refused(work, ner_eval) -> None:
    async def endless(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        return completion("x" * (32 * body["max_tokens"] + 1), "stop") if server.asked[-1].startswith("林20") else None

    with Faulty(endless) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url)
    assert (
        ended.code == 1 and "demo-test-20: an answer of 2,049 characters to a request for 64 tokens" in ended.lines[-1]
    )
    assert len(server.asked) == 40 and (RUN / "predictions.jsonl").stat().st_size < 20_000


def test_a_record_that_is_never_answered_is_named_and_the_others_are_answered(work, ner_eval) -> None:
    """A dropped connection is retried, but not forever while the server answers everybody else."""

    async def dropped(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        return drop if server.asked[-1].startswith("林20") else None

    with Faulty(dropped) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url)
    assert ended.code == 1 and "demo-test-20" in ended.lines[-1] and "(8 attempts)" in ended.lines[-1]
    assert {p.id for p in read_predictions(RUN) if not p.error} == {f"demo-test-{n}" for n in range(40)} - {
        "demo-test-20"
    }
