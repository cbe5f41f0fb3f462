"""Whatever bytes a server sends: an answer or one line of error, in time and in little memory."""

import asyncio
import gzip
import json
import random
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from faulty import Raw, http
from ner_common.errors import UserError
from ner_eval.inference import client
from ner_eval.inference.client import Client, run_async
from ner_eval.inference.reply import Reply
from ner_eval.inference.served_model import Served, find_model

MODELS = json.dumps({"data": [{"id": "nano", "root": "/none", "parent": None}]}).encode()
ANSWER = '[{"text":"林晓","label":"name"}]'
VALUE = {
    "id": "x",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3},
}
ODD: list[Any] = [
    None, True, -1, 10**30, 1.5, "", "\ud800", "\x1b[2J\r\n\x00\u202e", "x" * 100_000, [], {}, [[]], {"": None},
    float("inf"), float("nan"), float("-inf"),
]  # fmt: skip
STATUSES = [
    "200 OK", "200", "200 \x1b[31mred", "201 Created", "204 No Content", "206 Partial", "301 Moved", "307 Again",
    "400 Bad", "401 No", "402 Pay", "403 No", "404 None", "408 Late", "409 Odd", "413 Large", "422 No", "429 Busy",
    "500 Broken", "502 Bad", "503 Busy", "504 Late", "599 Odd", "999 Odd", "099 Odd", "0", "abc", "-1 Odd", "100 Go",
    "101 Other",
]  # fmt: skip
HEADERS = {
    "Retry_After": [
        "0",
        "-5",
        "nan",
        "inf",
        "1e18",
        "9" * 400,
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 1 Jan 0001",
        "x",
    ],
    "Content_Type": ["text/html", "", "application/json; charset=klingon", ";;;", "multipart/form-data"],
    "Location": ["http://127.0.0.1:1/", "//", "http://[", "\udcff", "javascript:x"],
    "Set_Cookie": ["a=b; Max-Age=x", "=", "a" * 8000, "\udcff=\udcfe"],
    "Content_Length": ["-", "-1", "5", "99999999", "99999999999999999999", "x", "1, 2"],
    "Transfer_Encoding": ["chunked", "gzip", "identity", "chunked, chunked"],
    "Content_Encoding": ["gzip", "deflate", "br", "zstd", "identity", "x", "gzip, gzip"],
    "Connection": ["close", "keep-alive", "upgrade"],
    "Odd": ["a\r\n b", "\x01", "a\nb: c", "\udcff" * 50, "x" * 9000],
}


def mutated(value: Any, rng: random.Random) -> Any:
    """A JSON value with one node replaced, removed or wrapped."""
    if rng.random() < 0.25 or not isinstance(value, dict | list) or not value:
        return rng.choice([*ODD, [value], {"error": value}])
    copy = dict(value) if isinstance(value, dict) else list(value)
    key = rng.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
    if rng.random() < 0.15:
        del copy[key]
    else:
        copy[key] = mutated(copy[key], rng)
    return copy


def body_of(value: Any, rng: random.Random) -> bytes:
    text = json.dumps(mutated(value, rng) if rng.random() < 0.7 else value, ensure_ascii=rng.random() < 0.7)
    body = text.encode("utf-8", "surrogatepass")
    odd: list[Callable[[], bytes]] = [
        lambda: body[: rng.randrange(len(body) + 1)],
        lambda: rng.randbytes(rng.randrange(300)),
        lambda: b"\xef\xbb\xbf" + body,
        lambda: text.encode("utf-16", "replace"),
        lambda: b"[" * 100_000,
        lambda: b'{"usage": ' * 5_000 + b"1" + b"}" * 5_000,
        lambda: body.replace(b"9", b"9" * 5_000, 1),
        lambda: body + body,
        lambda: b"data: " + body + b"\n\ndata: [DONE]\n\n",
        lambda: b"<html>\x1b[2J</html>",
    ]
    return rng.choice(odd)() if rng.random() < 0.35 else body


def response(value: Any, rng: random.Random) -> tuple[bytes, bytes]:
    """A response with up to three things wrong, and its body as meant."""
    body = meant = body_of(value, rng)
    headers = {name: rng.choice(HEADERS[name]) for name in rng.sample(list(HEADERS), rng.choice([0, 0, 1, 2]))}
    encoding = headers.get("Content_Encoding")
    if encoding == "gzip" and rng.random() < 0.7:
        body = gzip.compress(body)
    if encoding == "deflate" and rng.random() < 0.7:
        body = zlib.compress(body)
    if headers.get("Transfer_Encoding") == "chunked":
        headers["Content_Length"] = "-"
        size = rng.choice([f"{len(body):x}", "0", "-1", "zz", "ffffffffffffffffff", "5"])
        body = size.encode() + b"\r\n" + body + rng.choice([b"\r\n0\r\n\r\n", b"", b"\r\n"])
    whole = http(body, rng.choice(STATUSES) if rng.random() < 0.5 else "200 OK", **headers)
    odd = [
        whole[: rng.randrange(len(whole))],
        rng.randbytes(200),
        b"",
        b"\x16\x03\x01\x02\x00",
        body,
        b"HTTP/9.9 200\r\n\r\n",
    ]
    return (rng.choice(odd) if rng.random() < 0.1 else whole), meant


async def written(content: bytes, writer: asyncio.StreamWriter, way: float) -> None:
    """Send a response at once, in two parts, or byte by byte for a while; then end or reset the connection."""
    if way < 0.1:
        for at in range(min(len(content), 200)):
            writer.write(content[at : at + 1])
            await asyncio.sleep(0)
        content = content[200:]
    elif way < 0.3:
        writer.write(content[: len(content) // 2])
        await asyncio.sleep(0.001)
        content = content[len(content) // 2 :]
    writer.write(content)
    if 0.3 < way < 0.35:
        writer.transport.abort()


def is_one_line(error: Exception) -> bool:
    text = str(error)
    return bool(text) and text.isprintable() and len(text) < 1000


def answer_in(body: bytes) -> str:
    """What another JSON reader finds."""
    content = json.loads(body)["choices"][0]["message"]["content"] or ""
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in content)


async def ask(url: str, meant: bytes | None, seen: Counter[str]) -> None:
    started = time.monotonic()
    try:
        async with Client([url], timeout=0.5, patience=0.3) as asker:
            served = await find_model(asker, "nano", wait=0)
            assert isinstance(served, Served) and served.name == "nano"
            reply = await asker.ask({"model": "nano"}, "text 1")
            assert isinstance(reply, Reply) and 0 <= reply.prompt_tokens <= 1e9
            seen["answered"] += 1
            assert reply.answer == (ANSWER if meant is None else answer_in(meant))
    except UserError as error:
        assert is_one_line(error), error
        seen[type(error).__name__] += 1
    # A request may take its timeout after the patience began; /models and /version have the same timeout.
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("count", [400, pytest.param(8000, marks=pytest.mark.slow)])
def test_no_response_breaks_the_client(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(client, "FIRST_DELAY", 0.002)
    monkeypatch.setattr(client, "LONGEST_DELAY", 0.02)
    # Request n gets its own response to one of the three questions, and normal ones to the others.
    scripts: dict[str, tuple[str, bytes, float, bytes]] = {}
    for n in range(count):
        rng = random.Random(n)
        which, value = rng.choice(
            [("chat", VALUE)] * 3 + [("models", json.loads(MODELS)), ("version", {"version": "1"})]
        )
        content, meant = response(value, rng)
        scripts[str(n)] = (which, content, rng.random(), meant)

    async def respond(path: str, writer: asyncio.StreamWriter) -> None:
        number, kind = path.split("/")[1], path.rpartition("/")[2].replace("completions", "chat")
        which, content, way, _ = scripts[number]
        normal = {"chat": json.dumps(VALUE).encode(), "models": MODELS, "version": b'{"version": "1"}'}
        await written(content if which == kind else http(normal[kind]), writer, way if which == kind else 0.5)

    seen: Counter[str] = Counter()
    failures: list[str] = []

    async def work(url: str) -> None:
        numbers = iter(scripts)

        async def worker() -> None:
            for number in numbers:
                try:
                    which, _, _, meant = scripts[number]
                    await asyncio.wait_for(ask(f"{url}/{number}/v1", meant if which == "chat" else None, seen), 20)
                except BaseException as error:
                    failures.append(f"{number}: {error!r} {scripts[number]!r:.300}")

        await asyncio.gather(*(worker() for _ in range(32)))

    with Raw(respond) as server:
        run_async(work(server.url))
    assert not failures, "\n".join(failures[:10])
    assert sum(seen.values()) == count and seen["answered"] > count / 10 and len(seen) >= 4, seen
