"""Engines that are away, slow, broken or restarted; clients that hang up; the end of the service."""

import asyncio
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from api_process import until
from faulty import Faulty, InThread, completion, failure, http, slow
from ner_eval.inference import client
from ner_eval.inference.client import Connection
from ner_eval.service.access import Keys
from ner_eval.service.application import application
from ner_eval.service.metrics import Metrics
from ner_eval.service.models import open_models
from ner_eval.service.service import Limits, Service
from support import ROOT, free_port

TEXT = "林晓在云帆科技任经理"
MODELS = json.dumps({"data": [{"id": "nano", "root": "/models/nano"}]}).encode()


class Stub:
    """`engine_stub.py` as a process; it can be killed and started again."""

    def __init__(self, delay: float = 0.0) -> None:
        self.port, self.delay = free_port(), delay
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        command = [sys.executable, str(ROOT / "tests/engine_stub.py"), str(self.port), str(self.delay)]
        self.process = subprocess.Popen(command)
        until(self.listens)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> "Stub":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def test_an_engine_that_goes_away_makes_the_service_unready_and_comes_back(start_api) -> None:
    with Stub() as stub, start_api("--patience", 1, base_url=stub.url) as api:
        assert api.client.get("/ready").json() == {"status": "ready"}
        stub.kill()
        assert "no engine answers" in api.refused(503, {"text": TEXT})
        assert api.extract({"texts": [TEXT] * 3}).headers["retry-after"] == "5"
        assert api.client.get("/ready").status_code == 503 and api.client.get("/health").status_code == 200
        stub.start()
        until(lambda: api.client.get("/ready").status_code == 200)
        until(lambda: api.extract({"text": TEXT}).status_code == 200, 15)


def test_a_slow_engine_ends_at_the_deadline(api, engine: Faulty) -> None:
    engine.script = slow(3, 3)
    started = time.monotonic()
    assert "within 0.3 s" in api.refused(504, {"text": TEXT, "deadline": 0.3})
    assert "within 0.3 s" in api.refused(504, {"texts": [TEXT] * 20, "deadline": 0.3})
    assert "within 0.3 s" in api.refused(504, {"texts": [TEXT] * 20, "deadline": 0.3, "stream": True})
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": 5}}]}', b"\xff" * 1000, b"<html>"],
)
def test_garbage_from_an_engine_is_no_answer(api, engine: Faulty, content: bytes) -> None:
    async def garbage(server: Faulty, body: dict[str, Any]) -> web.Response:
        return web.Response(body=content, content_type="application/json")

    assert api.extract({"text": TEXT}).status_code == 200  # an answer, so patience begins again
    engine.script = garbage
    assert "no answer within" in api.refused(504, {"text": TEXT, "deadline": 0.4})


def test_an_answer_that_is_none_comes_back_with_its_problem(api, engine: Faulty) -> None:
    async def nonsense(server: Faulty, body: dict[str, Any]) -> web.Response:
        return completion("<script>alert(1)</script>")

    engine.script = nonsense
    (result,) = api.extract({"text": TEXT}).json()["results"]
    assert result["entities"] == [] and result["problems"] == ["answer unparsable"]


def test_an_engine_that_refuses_everybody_is_the_services_fault(api, engine: Faulty) -> None:
    async def no(server: Faulty, body: dict[str, Any]) -> web.Response:
        return web.json_response({"error": {"message": "no"}}, status=404)

    engine.script = no
    assert "the engine refuses all requests" in api.refused(503, {"text": TEXT})


@pytest.mark.parametrize("broken", [lambda: failure(500), lambda: web.Response(body=b"<html>")])
def test_a_text_that_the_engine_fails_on_is_the_engines_fault(
    engine: Faulty, adapter_folder: Path, monkeypatch: pytest.MonkeyPatch, broken: Callable[[], web.Response]
) -> None:
    """In this process, where eight attempts do not take a minute."""
    monkeypatch.setattr(client, "FIRST_DELAY", 0.005)

    async def fails(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        return broken() if server.asked[-1].startswith("赵六") else None

    async def replies() -> list[httpx.Response]:
        async with AsyncExitStack() as stack:
            words, connection = [f"nano={adapter_folder}"], Connection([engine.base_url])
            models = await open_models(stack, words, "off", connection, print)
            app = application(Service(models, Keys(()), Limits(), Metrics(models)))
            http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
            await stack.enter_async_context(http)
            bodies = ({"text": "赵六在"}, {"document": {"id": "7", "text": "赵六在"}}, {"texts": ["赵六在", TEXT]})
            return [await http.post("/extract", json=body) for body in bodies]

    engine.script = fails
    text, document, many = asyncio.run(replies())
    engine.script = None
    assert [text.status_code, document.status_code] == [503, 503] and "(8 attempts)" in text.json()["error"]
    broken_one, answered = many.json()["results"]
    assert broken_one.keys() == answered.keys() and broken_one["entities"] is None
    assert "(8 attempts)" in broken_one["problems"][0] and answered["entities"][0]["text"] == "林晓"


def test_a_line_is_sent_as_soon_as_it_is_there_and_a_failure_is_the_last(api, engine: Faulty) -> None:
    free = threading.Event()

    async def later(server: Faulty, body: dict[str, Any]) -> None:
        while body["messages"][1]["content"].endswith("后来在") and not free.is_set():
            await asyncio.sleep(0.02)

    engine.script = later
    body = {"texts": ["林晓在", "后来在"], "stream": True}
    with api.client.stream("POST", "/extract", json=body) as reply:
        lines = reply.iter_lines()
        assert json.loads(next(lines))["id"] == "0"
        free.set()
        assert json.loads(next(lines))["id"] == "1"
    free.clear()
    with api.client.stream("POST", "/extract", json={**body, "deadline": 0.5}) as reply:
        assert reply.status_code == 200
        first, last = map(json.loads, reply.iter_lines())
    assert first["id"] == "0" and last == {"error": last["error"]} and "no answer within 0.5 s" in last["error"]
    free.set()


class Patient(InThread):
    """An engine that answers ``quick`` requests and no other; ``waiting`` counts those that still want an answer."""

    def __init__(self, quick: int) -> None:
        self.quick, self.waiting, self.asked = quick, 0, 0
        super().__init__()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._started.set()
        await self._stop.wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if head.startswith(b"get"):
            writer.write(http(MODELS, Connection="close"))
        else:
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
            self.asked += 1
            if self.asked <= self.quick:
                choice = {"message": {"content": "[]"}, "finish_reason": "stop"}
                writer.write(http(json.dumps({"choices": [choice]}).encode(), Connection="close"))
            else:
                self.waiting += 1
                await reader.read(1)  # until the connection is closed
                self.waiting -= 1
        writer.close()


@pytest.mark.parametrize(
    ("body", "quick", "status"),
    [
        ({"text": "林晓在"}, 0, 499),
        ({"texts": ["林晓在"] * 40}, 0, 499),
        ({"texts": ["林晓在"] * 40, "stream": True}, 1, 200),
    ],
)
def test_when_a_client_hangs_up_its_requests_to_the_engine_are_cancelled(
    start_api, body: dict[str, Any], quick: int, status: int
) -> None:
    with Patient(quick) as patient, start_api(base_url=patient.url) as api:
        client = socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])))
        data = json.dumps(body).encode()
        head = "POST /extract HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        until(lambda: patient.waiting == (1 if "text" in body else 16))
        client.close()
        until(lambda: patient.waiting == 0)
        time.sleep(0.3)
        assert patient.asked == quick + (1 if "text" in body else 16)  # the rest of the batch is never sent
        assert [line["status"] for line in api.lines() if line["path"] == "/extract"] == [status]


def test_requests_in_flight_are_answered_when_the_service_ends(start_api, engine: Faulty) -> None:
    engine.script = slow(1, 1)
    with start_api() as api, ThreadPoolExecutor() as pool:
        alone = pool.submit(api.extract, {"text": TEXT})
        many = pool.submit(api.extract, {"texts": [TEXT] * 20, "stream": True})
        until(lambda: engine.in_flight >= 17)
        api.process.send_signal(signal.SIGTERM)
        until(lambda: not_listening(api.url))
        assert alone.result().status_code == 200 and len(many.result().text.splitlines()) == 20
        assert api.wait() == -signal.SIGTERM
    assert "Traceback" not in api.log
    engine.script = None


def not_listening(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def test_no_request_is_lost_while_one_of_two_engines_is_killed_and_started_again(start_api) -> None:
    with Stub(0.05) as one, Stub(0.05) as two, start_api("--base-url", two.url, base_url=one.url) as api:
        running, wrong, count = threading.Event(), [], [0] * 16

        def ask(worker: int) -> None:
            chance = random.Random(worker)
            with httpx.Client(base_url=api.url, trust_env=False, timeout=30) as client:
                while not running.is_set():
                    names = [
                        f"{chance.choice('林王赵李')}{chance.choice('晓五六强')}在" for _ in range(worker % 3 + 1)
                    ]
                    reply = client.post("/extract", json={"texts": names, "stream": worker % 2 == 0})
                    count[worker] += 1
                    lines = reply.text.splitlines() if worker % 2 == 0 else []
                    results = [json.loads(line) for line in lines] or reply.json().get("results", [])
                    found = [(result["entities"] or [{}])[0].get("text") for result in results if "entities" in result]
                    if reply.status_code != 200 or found != [name[:2] for name in names]:
                        wrong.append((reply.status_code, reply.text, names))

        workers = [threading.Thread(target=ask, args=(worker,)) for worker in range(16)]
        for worker in workers:
            worker.start()
        for stub in (one, two):
            time.sleep(1)
            stub.kill()
            time.sleep(1)
            stub.start()
            until(lambda: b'ner_engines_up{model="nano"} 2.0' in api.client.get("/metrics").content)
        running.set()
        for worker in workers:
            worker.join(30)
    assert not wrong and min(count) > 10, (wrong[:3], count)
    assert sum("does not answer" in line for line in api.log.splitlines()) >= 2, api.log


@pytest.mark.slow
def test_the_benchmark_measures_requests_and_cpu_time(tmp_path: Path) -> None:
    """The bound is for an idle machine, and not asserted here."""
    ports = [str(free_port()), str(free_port())]
    command = [sys.executable, str(ROOT / "tests/bench/service.py"), "--seconds", "1", "--connections", "8"]
    done = subprocess.run(
        [*command, "--engine-port", ports[0], "--port", ports[1]], capture_output=True, text=True, timeout=120
    )
    assert "CPU time of the service" in done.stdout, done.stderr
    assert done.stdout.count(" 0 errors") == 2, done.stdout
