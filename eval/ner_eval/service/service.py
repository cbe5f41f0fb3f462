"""What is asked for texts: access and limits around `ner_eval.service.extraction`, and `POST /extract`."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from ner_common.errors import one_line
from ner_eval.service.access import Keys, RateLimit
from ner_eval.service.extraction import NO_SCORES, check_wanted, in_time, late, results
from ner_eval.service.failures import HUNG_UP, Failed
from ner_eval.service.messages import Broken, Extract, Extracted, Problem, Result, read_request
from ner_eval.service.metrics import Metrics
from ner_eval.service.models import Model

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

JSON, LINES = "application/json", "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may demand.

    Attributes:
        body: bytes of a request.
        texts: texts of a request.
        requests: requests to /extract at the same time, of all clients together.
        deadline: seconds for a request; of one that streams, for each line.
        rate: texts per second and client, on average; 0: any number.
        burst: texts that a client may send at once before the rate counts.
    """

    body: int = 4 << 20
    texts: int = 10_000
    requests: int = 256
    deadline: float = 60.0
    rate: float = 0.0
    burst: float = 1000.0


@dataclass(slots=True)
class Service:
    """The models and what protects them; one for the whole process."""

    models: Mapping[str, Model]
    keys: Keys
    limits: Limits
    metrics: Metrics
    log_texts: bool = False
    _rates: RateLimit = field(init=False)

    def __post_init__(self) -> None:
        self._rates = RateLimit(self.limits.rate, self.limits.burst)

    @property
    def default(self) -> Model:
        """The first model, which is asked if none is named."""
        return next(iter(self.models.values()))

    def client(self, http: "Request") -> str:
        """Who asks: the number of a key, or without keys the address.

        Raises:
            Failed: 401: the key is missing or wrong.
        """
        if not self.keys:
            return http.client.host if http.client else ""
        number = self.keys.number(http.headers.get("authorization", ""))
        if number is None:
            raise Failed(401, "a valid key is needed, in the header Authorization: Bearer KEY")
        http.state.key = number
        return f"key {number}"

    async def extract(self, http: "Request") -> "Response":
        """Answer one request.

        Raises:
            Failed: why there is no answer.
        """
        from starlette.responses import Response, StreamingResponse

        client = self.client(http)
        request = read_request(await self.body(http))
        model, seconds = self._accept(http, client, request)
        found = self._recorded(http, model, request)
        if request.stream or LINES in http.headers.get("accept", ""):
            lines = _lines(found, seconds)
            first = await in_time(http, anext(lines, b""), seconds)  # its failure has a status of its own
            return StreamingResponse(_rest(first, lines), media_type=LINES)
        results = await in_time(http, _all(found), seconds)
        if results and request.texts is None and results[0].entities is None:
            raise Failed(503 if isinstance(results[0], Broken) else 422, results[0].problems[0])
        return Response(msgspec.json.encode(Extracted(model.name, results)), media_type=JSON)

    async def answers(self, http: "Request", client: str, request: Extract) -> tuple[Model, list[Result]]:
        """The model that was asked, and all results; without scores if the engine has none.

        Raises:
            Failed: why there are none.
        """
        model, seconds = self._accept(http, client, request)
        try:
            return model, await in_time(http, _all(self._recorded(http, model, request)), seconds)
        except Failed as error:
            if error.problem != NO_SCORES:
                raise
        request = replace(request, scores=False)
        return model, await in_time(http, _all(self._recorded(http, model, request)), seconds)

    def _accept(self, http: "Request", client: str, request: Extract) -> tuple[Model, float]:
        """The model that is asked, and how many seconds that may take.

        Raises:
            Failed: 404: there is no such model; 413: too many texts; 422: see `check_wanted`; 429: the client
                sends too many texts in too short a time.
        """
        count, most = len(request.wanted), self.limits.texts
        if count > most:
            raise Failed(413, f"{count:,} texts, more than {most:,}; send them in several requests")
        model = self._model(request.model)
        check_wanted(model, request)
        http.state.model, http.state.texts = model.name, count
        if wait := self._rates.wait(client, max(1, count)):
            raise Failed(429, f"more than {self.limits.rate:g} texts per second; wait {wait:.1f} s", wait)
        return model, min(request.deadline or self.limits.deadline, self.limits.deadline)

    async def body(self, http: "Request") -> bytes:
        """The body of a request.

        Raises:
            Failed: 408, 413, 415: it is late, too large, or not declared as JSON.
        """
        from starlette.requests import ClientDisconnect

        if http.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            raise Failed(415, f"send JSON, with the header Content-Type: {JSON}")
        data, most = bytearray(), self.limits.body
        if int(http.headers.get("content-length", 0)) > most:
            raise Failed(413, f"the body has more than {most:,} bytes; send the texts in several requests")
        try:
            async with asyncio.timeout(self.limits.deadline):
                async for part in http.stream():
                    data += part
                    if len(data) > most:
                        raise Failed(413, f"the body has more than {most:,} bytes; send the texts in several requests")
        except TimeoutError:
            raise Failed(408, f"the body did not arrive within {self.limits.deadline:g} s") from None
        except ClientDisconnect:
            raise Failed(HUNG_UP, "the client hung up") from None
        return bytes(data)

    def _model(self, name: str | None) -> Model:
        if name is None:
            return self.default
        if name not in self.models:
            raise Failed(404, f"no model {one_line(name)}; there is: {', '.join(self.models)}")
        return self.models[name]

    async def _recorded(self, http: "Request", model: Model, request: Extract) -> AsyncGenerator[Result, None]:
        """The results, counted, and noted for the log if it may have texts."""
        texts = dict(request.wanted) if self.log_texts else {}
        if self.log_texts:
            http.state.found = []
        async with aclosing(results(model, request)) as found:
            async for result in found:
                self.metrics.found(model.name, result)
                if self.log_texts:
                    http.state.found.append({"text": texts[result.id], "entities": result.entities})
                yield result


async def _all(found: AsyncGenerator[Result, None]) -> list[Result]:
    return [result async for result in found]


async def _lines(found: AsyncGenerator[Result, None], seconds: float) -> AsyncGenerator[bytes, None]:
    """JSON lines, each within ``seconds`` of the one before."""
    async with aclosing(found):
        while True:
            try:
                async with asyncio.timeout(seconds):
                    result = await anext(found, None)
            except TimeoutError:
                raise late(seconds) from None
            if result is None:
                return
            yield msgspec.json.encode(result) + b"\n"


async def _rest(first: bytes, lines: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes]:
    """A first line and those after it; a failure becomes the last line, because the status has been sent."""
    async with aclosing(lines):
        try:
            yield first
            async for line in lines:
                yield line
        except Failed as error:
            yield msgspec.json.encode(Problem(error.problem)) + b"\n"
