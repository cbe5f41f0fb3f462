"""Requests of hostile clients to a server with soft prompts: as with vLLM alone, or refused; never without the prompt."""

import asyncio
import json
from typing import Any

import pytest

from ner_models.serving import middleware

SETTINGS = {"base": "nano", "soft_prompts": {"soft": {"text": "ttt", "prefix": False}}}


@pytest.fixture(autouse=True)
def soft_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(middleware.VARIABLE, json.dumps(SETTINGS))


def ask(*parts: bytes, path: str = middleware.CHAT) -> tuple[bytes | None, int | None]:
    """(what vLLM gets as body or None, the status that the client gets from us or None) for a request in parts."""
    reached: list[bytes] = []
    statuses: list[int] = []

    async def vllm(scope: Any, receive: Any, send: Any) -> None:
        reached.append((await receive())["body"])

    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts[:-1]]
    messages.append({"type": "http.request", "body": parts[-1]})

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-length", b"1")]}
    asyncio.run(middleware.SoftPromptNames(vllm)(scope, receive, send))
    return (reached[0] if reached else None), (statuses[0] if statuses else None)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff", b"[]", b"5", b'{"model": ' + b"9" * 5000 + b"}", b'{"model": ["soft"]}',
        b'{"model": {"soft": 1}}', b'{"model": null}', b'{"model": "nano", "messages": []}', b'{"model": "other"}',
    ],
)  # fmt: skip
def test_what_is_not_for_a_soft_prompt_reaches_vllm_as_it_came(body: bytes) -> None:
    assert ask(body[:3], body[3:]) == (body, None)


@pytest.mark.parametrize(
    "more",
    [
        '"x": NaN',
        '"x": "\\ud800"',
        '"x": 1e999',
        '"chat_template_kwargs": null',
        '"cache_salt": [1]',
        '"model": "soft"',
    ],
)
def test_every_request_for_a_soft_prompt_gets_it(more: str) -> None:
    body, status = ask(b'{"model": "soft", "messages": [], ' + more.encode() + b"}")
    assert status is None and body
    assert json.loads(body)["chat_template_kwargs"] == {"soft_prompt": "ttt"}


def test_a_request_for_a_soft_prompt_in_another_encoding_gets_it() -> None:
    body, _ = ask('{"model": "soft"}'.encode("utf-16"))
    assert body and json.loads(body)["chat_template_kwargs"] == {"soft_prompt": "ttt"}


@pytest.mark.parametrize("given", ["5", "[1]", '"x"'])
def test_template_arguments_that_are_none_are_refused(given: str) -> None:
    assert ask(f'{{"model": "soft", "chat_template_kwargs": {given}}}'.encode()) == (None, 400)


def test_a_deeply_nested_request_for_a_soft_prompt_gets_it_or_is_refused() -> None:
    for depth in (50, 500, *range(900, 1000, 5), 5000, 100_000):
        body, status = ask(b'{"model": "soft", "x": ' + b"[" * depth + b"]" * depth + b"}")
        assert (body is None and status == 400) or (body and json.loads(body)["chat_template_kwargs"])
    assert ask(b"[" * 100_000) == (None, 400)


def test_a_body_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_BYTES", 1000)
    assert ask(*[b"x" * 100] * 50) == (None, 413)
    assert ask(b"x" * 1000) == (b"x" * 1000, None)
