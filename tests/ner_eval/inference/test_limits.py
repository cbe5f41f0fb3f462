"""What a server cannot make the client do: wait longer than its patience, flood the server, or fill the memory."""

import asyncio
import json
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, Raw, Script, drop, failure, http, slow
from ner_eval.inference.client import Client, run_async
from ner_eval.inference.failures import RecordRefused, ServerUnavailable

BODY = {"messages": [{}, {"content": "文本：\n林晓在"}]}
RETRY_AFTER = [
    "1e18",
    "inf",
    "nan",
    "-5",
    "0",
    "soon",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Wed, 21 Oct 2015 07:28:00 GMT",
]


def scripted(*responses: Any) -> Script:
    """Every request gets the next of these responses, in turn."""
    count = 0

    async def script(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        nonlocal count
        count += 1
        response = responses[count % len(responses)]
        return await response(server, body) if asyncio.iscoroutinefunction(response) else response()

    return script


def busy(value: str | None = None) -> Callable[[], web.Response]:
    return lambda: failure(429, "busy", **({"Retry-After": value} if value else {}))


def dropped() -> web.Response:
    return drop


async def dropped_then_hanging(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
    if len(server.asked) <= 9:
        return drop
    await asyncio.sleep(600)
    return None


FAULTS = {
    **{f"Retry-After {value}": (busy(value),) for value in RETRY_AFTER},
    "429": (busy(),),
    "dropped": (dropped,),
    "503": (lambda: failure(503, "loading", **{"Retry-After": "1e18"}),),
    "a mix": (busy("9"), dropped, lambda: failure(500), lambda: failure(503), lambda: web.Response(text="{")),
    "dropped, then hanging": (dropped_then_hanging,),
}


async def lag(ended: asyncio.Event) -> float:
    """For how many seconds in all other work has kept this loop from going on, until something has ended."""
    total = 0.0
    while not ended.is_set():
        before = time.monotonic()
        await asyncio.sleep(0.01)
        total += time.monotonic() - before - 0.01
    return total


@pytest.mark.parametrize("servers", [1, 3])
def test_patience_holds_whatever_the_server_does(servers: int) -> None:
    """The probe of a server that is down, `/models`, answers all the time; only completions fail."""
    patience = 1.0
    first: dict[str, float] = {}  # when a request of each fault arrived

    def noted(fault: str, script: Script) -> Script:
        async def noting(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
            first.setdefault(fault, time.monotonic())
            return await script(server, body)

        return noting

    async def ask_all(urls: list[str]) -> tuple[float, float, list[object]]:
        async with Client(urls, patience=patience) as asker:
            started = time.monotonic()
            found = await asyncio.gather(*(asker.ask(BODY, f"{n}") for n in range(8)), return_exceptions=True)
            return started, time.monotonic(), found

    async def every_fault(groups: list[list[str]]) -> tuple[float, list[tuple[float, float, list[object]]]]:
        over = asyncio.Event()
        lost = asyncio.create_task(lag(over))
        ended = await asyncio.gather(*(ask_all(urls) for urls in groups))
        over.set()
        return await lost, ended

    with ExitStack() as stack:
        groups = [
            [stack.enter_context(Faulty(noted(fault, scripted(*responses)))).base_url for _ in range(servers)]
            for fault, responses in FAULTS.items()
        ]
        lost, ended = run_async(every_fault(groups))
    for fault, (started, end, found) in zip(FAULTS, ended, strict=True):
        assert {type(error) for error in found} == {ServerUnavailable}, fault
        # Patience begins with the first failure. 0.15 s: more than 100 requests at once on an idle machine.
        seconds = end - first[fault]
        assert end - started >= patience and seconds < 1.1 * patience + 0.15 + lost, (fault, seconds, lost)
        assert all(str(error).endswith("; no answer for 1 s") for error in found)


def test_patience_begins_again_after_an_answer() -> None:
    async def moody(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        return None if len(server.asked) % 2 == 0 else busy()()

    async def ask_all(url: str) -> float:
        async with Client([url], patience=1) as asker:
            started = time.monotonic()
            for n in range(3):
                await asker.ask(BODY, f"{n}")
            return time.monotonic() - started

    with Faulty(moody) as server:
        assert run_async(ask_all(server.base_url)) > 1.5


def test_an_old_failure_does_not_end_a_later_request() -> None:
    async def ask_twice(server: Faulty) -> None:
        async with Client([server.base_url], patience=1) as asker:
            with pytest.raises(ServerUnavailable):
                await asker.ask(BODY, "1")
            await asyncio.sleep(0.2)
            server.script = slow(0.5, 0.5)
            assert (await asker.ask(BODY, "2")).finish_reason == "stop"

    with Faulty(scripted(busy())) as server:
        run_async(ask_twice(server))


def test_a_busy_server_gets_at_most_two_requests_per_second_and_worker() -> None:
    workers, patience = 16, 2.2
    values = [None, *RETRY_AFTER]

    async def ask_all(url: str) -> None:
        async with Client([url], patience=patience) as asker:
            await asyncio.gather(*(asker.ask(BODY, f"{n}") for n in range(workers)), return_exceptions=True)

    async def ask_each(urls: list[str]) -> None:
        await asyncio.gather(*map(ask_all, urls))

    with ExitStack() as stack:
        servers = [stack.enter_context(Faulty(scripted(busy(value)))) for value in values]
        run_async(ask_each([server.base_url for server in servers]))
    for value, server in zip(values, servers, strict=True):
        assert workers <= len(server.asked) <= workers * (1 + 2 * patience), value
        if value in (None, "0", "-5", "nan", "soon"):
            assert len(server.asked) >= 2 * workers  # it does try again


def test_a_server_that_refuses_everything_is_not_unavailable() -> None:
    async def ask_all(url: str) -> list[object]:
        async with Client([url], patience=0.3) as asker:
            found: list[object] = []
            for n in range(10):
                found += await asyncio.gather(asker.ask(BODY, f"{n}"), return_exceptions=True)
                await asyncio.sleep(0.05)
            return found

    with Faulty(scripted(lambda: failure(400, "too long"))) as server:
        found = run_async(ask_all(server.base_url))
    assert {type(error) for error in found} == {RecordRefused}


# --- memory -----------------------------------------------------------------------------------------------------------

MEASURED = """
import atexit, re, sys
peak = lambda: re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]
atexit.register(lambda: print("peak", peak(), file=sys.__stderr__))
from ner_eval.cli import entry_point
entry_point()
"""
LIMIT = 300_000  # KiB
BIG = b"x" * (1 << 16)
COMPLETION = {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}


async def endless(writer: asyncio.StreamWriter, block: bytes) -> None:
    """Up to 700 MB."""
    for _ in range((700 << 20) // len(block)):
        writer.write(block)
        await writer.drain()


def bomb(content: bytes) -> bytes:
    """Gzip of 400 MB."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(content) for _ in range((400 << 20) // len(content))), packer.flush()])


def completion(content: str) -> bytes:
    value = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
    return http(json.dumps(value, ensure_ascii=False).encode())


CHUNKED = {"Content_Length": "-", "Transfer_Encoding": "chunked"}
HEAD = http(b"", Content_Length=str(700 << 20))
WILD = {  # as many mentions, or as much text, as an answer can hold
    "mentions": json.dumps([{"label": "name", "text": text} for text in ("林晓在", "林晓", "晓")] * 2_000),
    "labels": json.dumps([{"label": f"x{n}", "text": "林"} for n in range(4_000)]),
    "one text": json.dumps([{"label": "name", "text": "谁" * 300_000 + "😀"}], ensure_ascii=False)[:900_000],
}


QUICK = ["body", "gzip bomb"]
LONG = [
    "labels",
    "models bomb",
    "error body",
    "error bomb",
    "tiny chunks",
    "headers",
    "100 Continue",
    "models",
    "version",
    "mentions",
    "one text",
]


@pytest.mark.parametrize("case", [*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in LONG)])
def test_memory_stays_small_whatever_is_sent_to_64_requests_at_once(work: Path, case: str) -> None:
    packed = bomb(BIG) if "bomb" in case else b""
    zipped = {"Content_Encoding": "gzip"}

    async def respond(path: str, writer: asyncio.StreamWriter) -> None:
        kind = path.rpartition("/")[2]
        if kind == "models" and case.startswith("models"):
            writer.write(http(packed, **zipped) if packed else HEAD)
            await endless(writer, BIG)
        elif kind == "models":
            writer.write(http(b'{"data": [{"id": "nano"}]}'))
        elif kind == "version":
            writer.write(HEAD)
            await endless(writer, BIG if case == "version" else b"x")
        elif case in WILD:
            writer.write(completion(WILD[case]))
        elif "bomb" in case:
            writer.write(http(packed, "500 Broken" if case == "error bomb" else "200 OK", **zipped))
        elif case == "tiny chunks":
            writer.write(http(b"", **CHUNKED))
            await endless(writer, b"2\r\nxx\r\n" * 10_000)
        elif case == "headers":
            writer.write(b"HTTP/1.1 200 OK\r\n")
            await endless(writer, b"".join(b"X-%d: %s\r\n" % (n, b"x" * 500) for n in range(100)))
        elif case == "100 Continue":
            await endless(writer, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
        else:
            writer.write(HEAD if case == "body" else HEAD.replace(b"200 OK", b"500 Broken"))
            await endless(writer, BIG)

    Path("a.txt").write_text("林晓在\n" * (400 if case in WILD else 64), encoding="utf-8")
    arguments = [
        "extract",
        "--model",
        "nano",
        "--prompt",
        "data/alpaca/demo.prompt.json",
        "--wait",
        "0",
        "--timeout",
        "4",
    ]
    with Raw(respond) as server:
        arguments += ["--base-url", f"{server.url}/v1", "--output", "out.jsonl", "--patience", "1", "a.txt"]
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *arguments], capture_output=True, text=True, timeout=120
        )
    assert "Traceback" not in done.stderr, done.stderr
    peak = int(re.findall(r"^peak (\d+)$", done.stderr, re.MULTILINE)[0])
    print(case, peak // 1024, "MB", done.returncode, done.stderr[-300:])
    assert peak < LIMIT
    if case in WILD:
        assert len(Path("out.jsonl").read_text("utf-8").splitlines()) == 400
