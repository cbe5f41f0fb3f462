"""`ner-eval api` as a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from ner_docs import messages
from support import ROOT


def until(holds: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


class Api:
    """A running service; ``log`` is what it has written to stderr so far."""

    def __init__(self, *arguments: object, cwd: Path | None = None, **environment: str) -> None:
        path = os.pathsep.join([str(ROOT / "tools"), str(ROOT / "eval")])
        own = {name: value for name, value in os.environ.items() if name not in ("OPENAI_API_KEY", "NER_API_KEYS")}
        entry = "from ner_eval.cli import entry_point; entry_point()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", entry, "api", "--port", "0", *map(str, arguments)],
            env={**own, "PYTHONPATH": path, **environment},
            cwd=cwd,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = ""
        self._up = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.log += line
            if found := re.match(r"(http://\S+): ", line):
                self.url = found[1]
                self._up.set()
        self._up.set()

    def __enter__(self) -> "Api":
        messages.collect()  # takes a second, which tests of time must not meet later
        assert self._up.wait(60) and self.process.poll() is None, self.log
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.stop()

    def stop(self) -> int:
        """Ask it to end and wait until it has."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(30)
        self._reader.join(10)
        return code

    def extract(self, body: Any, **headers: str) -> httpx.Response:
        return self.client.post("/extract", json=body, headers=headers)

    def refused(self, status: int, body: Any = None, content: bytes | None = None, **headers: str) -> str:
        """Check that a request is refused in one line of JSON, and return that."""
        sent = {"content-type": "application/json", **headers}
        data = json.dumps(body).encode() if content is None else content
        reply = self.client.post("/extract", content=data, headers=sent)
        assert reply.status_code == status, reply.text
        assert reply.headers["content-type"] == "application/json" and reply.json().keys() == {"error"}
        said: str = reply.json()["error"]
        assert said and "\n" not in said and len(said) < 400 and "http://" not in said
        assert any(message.says(said) for message in messages.collect()), said  # the list in the documentation
        return said

    def lines(self) -> list[dict[str, Any]]:
        """The log of requests, once the last one is in it."""
        self.client.get("/no-such-address")
        for _ in range(200):
            lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
            if lines and lines[-1]["path"] == "other":
                return lines
            threading.Event().wait(0.02)
        raise AssertionError(self.log)
