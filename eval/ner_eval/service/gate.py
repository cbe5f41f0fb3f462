"""Around the whole application: headers, the log, metrics, and what happens to an error that nobody expected."""

import json
import sys
import time
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ner_eval.service.failures import HUNG_UP
from ner_eval.service.label_studio import PREDICT
from ner_eval.service.messages import Problem
from ner_eval.service.service import JSON, Service

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

EXTRACT = "/extract"
# The pages need their own scripts, styles and answers, and nothing else from anywhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class Gate:
    """An ASGI application around another one."""

    def __init__(self, app: "ASGIApp", service: Service, paths: frozenset[str]) -> None:
        self._app, self._service, self._paths = app, service, paths
        self._running = 0

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            return
        status, started = HUNG_UP, time.perf_counter()

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        path = scope["path"] if scope["path"] in self._paths else "other"  # anything may be in it, texts too
        extracts = path in (EXTRACT, PREDICT)
        self._service.metrics.in_flight.inc()
        self._running += extracts
        try:
            if extracts and self._running > self._service.limits.requests:
                await _fail(answer, 503, f"{self._running - 1} requests at the same time; try again later", 1)
            else:
                await self._app(scope, receive, answer)
        except Exception as error:
            self._report(error)  # the client has had its answer
        finally:
            self._running -= extracts
            self._service.metrics.in_flight.dec()
            seconds = time.perf_counter() - started
            self._service.metrics.ended(path, status, seconds)
            if extracts or status >= 400:
                self._log(scope, path, status, seconds)

    def _log(self, scope: "Scope", path: str, status: int, seconds: float) -> None:
        """One JSON line on stderr; texts are in it only if the service was told so."""
        state = scope.get("state", {})
        known = {name: state[name] for name in ("key", "model", "texts", "found") if name in state}
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "path": path,
            "status": status,
            "seconds": round(seconds, 4),
            **known,
        }
        print(json.dumps(msgspec.to_builtins(line), ensure_ascii=False), file=sys.stderr, flush=True)

    def _report(self, error: Exception) -> None:
        """Where an error happened; its message may have a text in it."""
        said = f": {error}" if self._service.log_texts else ""
        where = "".join(traceback.format_tb(error.__traceback__)[-8:])
        print(f"{where}{type(error).__name__}{said}", file=sys.stderr, flush=True)


async def _fail(send: "Send", status: int, problem: str, wait: float | None = None) -> None:
    again = [(b"retry-after", str(int(wait)).encode())] if wait else []
    headers = [(b"content-type", JSON.encode()), *again]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(Problem(problem))})
