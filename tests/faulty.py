"""A server that follows a test's script: faults that a real server shows only when it is broken.

It answers ``/v1/models``, and ``/v1/chat/completions`` with the first two characters of the sentence as a name; or it
is a proxy in front of a real server. A script may answer something else, or drop the connection. `Raw` answers with
any bytes.
"""

import asyncio
import json
import random
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

import aiohttp
from aiohttp import web

Script = Callable[["Faulty", dict[str, Any]], Awaitable[web.StreamResponse | None]]


class InThread:
    """A server that runs in a thread while its `with` block does; ``_serve`` sets ``_loop``, ``_stop`` and ``port``."""

    def __init__(self) -> None:
        self._started = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)
        self._thread.start()
        assert self._started.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(RuntimeError):  # a script has stopped the server
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


class Faulty(InThread):
    """Use as a context manager; the server runs in a thread.

    ``script(server, body)`` returns the answer to a chat request, or None for the normal one. ``asked`` collects the
    sentences of all chat requests in order of arrival, ``answered`` those that got a normal answer. ``models``: served names,
    or a mapping from them to their folders, or the response to ``/v1/models``.
    """

    def __init__(self, script: Script | None = None, upstream: str | None = None, models: Any = ("nano",)) -> None:
        self.script = script
        self.upstream = upstream
        self.models = models
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.in_flight = self.most_in_flight = 0
        self.version: str | None = None
        super().__init__()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=1 << 24)
        app.router.add_get("/version", self._version)
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/chat/completions", self._chat)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        async with aiohttp.ClientSession() as self._session:
            self._started.set()
            await self._stop.wait()
        await runner.cleanup()

    async def _version(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"version": self.version}) if self.version else web.Response(status=404)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if isinstance(self.models, web.Response):
            return web.Response(status=self.models.status, body=self.models.body)
        if self.upstream:
            async with self._session.get(f"{self.upstream}/models") as response:
                return web.Response(status=response.status, body=await response.read())
        folders = self.models if isinstance(self.models, dict) else {name: f"/models/{name}" for name in self.models}
        return web.json_response({"data": [{"id": name, "root": str(folder)} for name, folder in folders.items()]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        body = json.loads(data)
        sentence = body["messages"][1]["content"].partition("文本：\n")[2]
        self.asked.append(sentence)
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            response = await self.script(self, body) if self.script else None
            if response is drop:
                assert request.transport is not None
                request.transport.abort()
            if response is not None:
                return response
            if self.upstream:
                url = f"{self.upstream}/chat/completions"
                async with self._session.post(url, data=data, headers={"Content-Type": "application/json"}) as real:
                    response = web.Response(status=real.status, body=await real.read())
            else:
                response = completion(json.dumps([{"label": "name", "text": sentence[:2]}], ensure_ascii=False))
            self.answered.append(sentence)
            return response
        finally:
            self.in_flight -= 1


class Raw(InThread):
    """A server that writes whatever bytes a test wants; use as a context manager, it runs in a thread.

    ``respond(path, writer)`` writes the response to one request; then the connection is closed.
    """

    def __init__(self, respond: Callable[[str, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.respond = respond
        self.requests = 0
        super().__init__()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=1000)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            length = next((line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), b":0")
            await reader.readexactly(int(length.partition(b":")[2]))
            await self.respond(head.split()[1].decode(), writer)
            await writer.drain()
        writer.close()


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """The bytes of a response; its length is right unless a header says otherwise."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items() if value != "-")]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


drop = web.Response(status=500)  # a script returns this to cut the connection


def slow(least: float, most: float) -> Script:
    """Normal answers after a random time (seconds)."""

    async def wait(server: Faulty, body: dict[str, Any]) -> None:
        await asyncio.sleep(random.uniform(least, most))

    return wait


def completion(answer: str | None, finish_reason: str = "stop") -> web.Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": finish_reason}
    return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})


def failure(status: int, message: str = "injected", **headers: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)
