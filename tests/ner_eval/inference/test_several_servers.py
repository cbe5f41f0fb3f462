"""Servers that are missing, loading or down at the start, and work shared by several."""

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, drop, failure, slow
from ner_eval.runs.predictions import read_predictions
from serving_support import write_tensor

RUN = Path("runs/nano-demo-test")
PREDICT = ("predict", "--model", "nano", "--corpus", "demo", "--wait", "0", "--concurrency", "8")


def assert_complete_and_right() -> None:
    predictions = read_predictions(RUN)
    assert [p.id for p in predictions] == [f"demo-test-{n}" for n in range(40)]
    for p in predictions:
        assert json.loads(p.answer) == [{"label": "name", "text": f"林{int(p.id.rsplit('-', 1)[1]):02}"[:2]}]


def test_a_missing_server_is_a_one_line_error_with_the_remedy(work, ner_eval) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        started = time.monotonic()
        ended = ner_eval(*PREDICT, "--base-url", url, "--wait", 1)
    assert ended.code == 2 and len(ended.lines) == 1
    assert "no server there" in ended.lines[0] and "make serve" in ended.lines[0]
    assert "waiting up to 1 s for it" in ended.err
    assert time.monotonic() - started >= 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (failure(401, "Unauthorized"), "give the server's key with --api-key"),
        (failure(404, "Not Found"), "does its address end in /v1"),
        (failure(503, "loading"), "HTTP 503: 'loading'; start the server with `make serve`"),
        (failure(500, "broken"), "HTTP 500: 'broken'; start the server"),
        (web.Response(text="<html>"), "returned no list of models"),
        (web.json_response({"data": [{"name": "x"}]}), "returned no list of models"),
        (("nano-base", "other"), "does not serve the model 'nano'; it serves: nano-base, other"),
        ((), "it serves: nothing"),
    ],
)
def test_a_server_without_the_model_is_refused_before_anything_is_written(work, ner_eval, models, words) -> None:
    with Faulty(models=models) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url)
    assert ended.code == 2 and len(ended.lines) == 1 and words in ended.lines[0]
    assert not server.asked and not Path("runs").exists()


def test_a_server_that_accepts_and_stays_silent_is_a_one_line_error(work, ner_eval) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/v1"
        ended = ner_eval(*PREDICT, "--base-url", url, "--timeout", "0.5")
    assert ended.code == 2 and len(ended.lines) == 1 and "accepts the connection but does not answer" in ended.lines[0]
    assert not Path("runs").exists()


def test_a_server_that_is_still_loading_is_waited_for(work, ner_eval) -> None:
    with Faulty(models=failure(503, "loading")) as server:
        server._loop.call_soon_threadsafe(server._loop.call_later, 1.0, setattr, server, "models", ("nano",))
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--wait", 20)
    assert ended.code == 0 and "waiting up to 20 s for it" in ended.err


def test_requests_move_to_the_servers_that_are_up(work, ner_eval) -> None:
    async def dies(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        await asyncio.sleep(0.01)
        return drop if len(server.answered) >= 5 else None

    with Faulty(dies) as weak, Faulty(slow(0.01, 0.02)) as strong:
        ended = ner_eval(*PREDICT, "--base-url", weak.base_url, "--base-url", strong.base_url)
    assert ended.code == 0, ended.err
    assert 5 <= len(weak.answered) <= 8 and len(weak.answered) + len(strong.answered) == 40
    assert_complete_and_right()


def test_a_server_that_is_down_at_the_start_is_skipped_with_a_notice(work, ner_eval) -> None:
    with Faulty() as server, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        ended = ner_eval(
            *PREDICT, "--base-url", f"http://127.0.0.1:{free.getsockname()[1]}/v1", "--base-url", server.base_url
        )
    assert ended.code == 0, ended.err
    assert "does not answer (no server there" in ended.err
    assert_complete_and_right()


def test_the_load_is_spread_over_the_servers(work, ner_eval) -> None:
    with Faulty(slow(0.01, 0.02)) as one, Faulty(slow(0.01, 0.02)) as two:
        assert ner_eval(*PREDICT, "--base-url", one.base_url, "--base-url", two.base_url).code == 0
    assert len(one.asked) + len(two.asked) == 40 and min(len(one.asked), len(two.asked)) > 10


def write_lora(folder: Path, weight: bytes) -> Path:
    """An adapter's folder with one tensor."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    write_tensor(folder / "adapter_model.safetensors", content=weight)
    return folder


@pytest.fixture
def one_and_other(work: Path) -> tuple[Path, Path]:
    return write_lora(work / "one", b"\1"), write_lora(work / "other", b"\2")


def test_servers_with_other_weights_of_the_same_name_are_refused(ner_eval, one_and_other) -> None:
    one, other = one_and_other
    same = write_lora(Path("same"), b"\1")
    with Faulty(models={"nano": one}) as first, Faulty(models={"nano": other}) as second:
        both = ("--base-url", first.base_url, "--base-url", second.base_url)
        ended = ner_eval(*PREDICT, *both)
        assert ended.code == 2 and len(ended.lines) == 1 and not Path("runs").exists()
        assert (
            f"{second.base_url}: serves nano with other weights" in ended.lines[0] and first.base_url in ended.lines[0]
        )
        second.models = {"nano": same}
        assert ner_eval(*PREDICT, *both).code == 0
    assert first.asked and second.asked


def test_a_server_that_comes_later_with_other_weights_or_names_is_left_out(ner_eval, one_and_other) -> None:
    one, other = one_and_other
    late = ({"nano": other}, {"else": one}, web.Response(text="<html>"))
    for models, words in zip(
        late, ("serves nano with other weights", "does not serve the model", "no list of models"), strict=True
    ):
        with Faulty(slow(0.05, 0.1), models={"nano": one}) as first, Faulty(models=failure(503, "loading")) as second:
            second._loop.call_soon_threadsafe(second._loop.call_later, 0.3, setattr, second, "models", models)
            both = ("--base-url", first.base_url, "--base-url", second.base_url)
            ended = ner_eval(*PREDICT, *both, "--concurrency", 2, "--run", words)
        assert ended.code == 0, ended.err
        assert words in ended.err and "it is left out" in ended.err and not second.asked
        assert len(first.answered) == 40


def test_an_adapter_that_is_not_the_served_one_is_refused(ner_eval, one_and_other) -> None:
    one, other = one_and_other
    prompt = ("--prompt", "data/alpaca/demo.prompt.json")
    with Faulty(models={"nano": one}) as server:
        ended = ner_eval(*PREDICT, *prompt, "--adapter", other, "--base-url", server.base_url)
        assert ended.code == 2 and len(ended.lines) == 1 and not Path("runs").exists()
        assert "serves nano from one, whose weights are not those of other" in ended.lines[0]
        Path("text.txt").write_text("林晓在云帆科技任经理\n", encoding="utf-8")
        extract = ("extract", "text.txt", "--model", "nano", *prompt, "--base-url", server.base_url)
        assert "whose weights are not those of other" in ner_eval(*extract, "--adapter", other).lines[0]
        assert ner_eval(*extract, "--adapter", one).code == 0


def test_answers_of_two_models_are_no_run(ner_eval, one_and_other) -> None:
    one, other = one_and_other

    async def exchanges(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        server.models = {"nano": one if len(server.answered) < 20 else other}
        return None

    with Faulty(exchanges, models={"nano": one}) as server:
        arguments = (*PREDICT, "--base-url", server.base_url)
        ended = ner_eval(*arguments)
        assert ended.code == 2 and len(ended.lines) == 1
        assert "nano was exchanged meanwhile" in ended.lines[0] and "another --run" in ended.lines[0]
        assert not read_predictions(RUN) and (RUN / "predictions.jsonl.of-two-models").is_file()
        assert "this run differs in" in ner_eval(*arguments).lines[0]
        Path("text.txt").write_text("林晓在云帆科技任经理\n" * 30, encoding="utf-8")
        server.answered.clear()
        server.models = {"nano": one}
        prompt = ("--prompt", "data/alpaca/demo.prompt.json")
        ended = ner_eval(
            "extract", "text.txt", "--model", "nano", *prompt, "--base-url", server.base_url, "--output", "out.jsonl"
        )
        assert ended.code == 2 and "may be of both; remove out.jsonl" in ended.lines[0]
