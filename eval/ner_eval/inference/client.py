"""A client of OpenAI-compatible servers that survives their failures.

How it handles them:

========================================  =============================================================================
refused, dropped, timed out, 502/503/504  retried, at once on another server if one is up; three in a row mark a server
                                          as down until its ``/models`` answers; ``ATTEMPTS`` attempts while other
                                          requests are answered: `RecordFailed`
429                                       retried after Retry-After or a backoff
other 5xx, 408, a malformed reply         retried with a backoff, ``ATTEMPTS`` attempts in all: `RecordFailed`
401, 402, 403, 404, 405, 407, 410, 3xx    `RequestRefused` at once
any other status                          `RecordRefused` at once: the server works, and refuses this record
========================================  =============================================================================

``patience`` seconds after the first failure without an answer to any request, all of them end, whatever they wait for:
`ServerUnavailable`. An answer ends the failure.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ner_common.commands import tell
from ner_eval.inference.checks import check_address, check_concurrency, check_key, check_seconds
from ner_eval.inference.failures import (
    DOWN,
    Failure,
    RecordRefused,
    ServerUnavailable,
    in_words,
    shown,
    stop_retrying,
)
from ner_eval.inference.http import encoded, get, new_session, post
from ner_eval.inference.reply import MalformedReply, Reply, error_text, read_reply, retry_after

if TYPE_CHECKING:
    import aiohttp

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds
TRIP = 3  # consecutive failures after which a server counts as down
PROBE_TIMEOUT = 5.0  # seconds
LONGEST_TOKEN = 32  # characters; longer ones are runs of spaces or of one sign
BASE_URL = "http://127.0.0.1:8000/v1"
T = TypeVar("T")


@dataclass(slots=True)
class Server:
    """One base URL and its state; ``context``: tokens that a prompt and its answer may have, if the server says so."""

    url: str
    context: int | None = None
    up: bool = True
    failures: int = 0  # consecutive
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Connection:
    """The servers to ask, and how to ask them.

    Attributes:
        base_urls: servers of the same model, each ending in /v1.
        api_key: sent as the bearer token.
        timeout: seconds before one attempt times out.
        patience: seconds to keep retrying while no server answers.
        wait: seconds to wait at the start for a server that is not up yet.
        concurrency: number of concurrent requests.
        openai_only: send only OpenAI's own parameters (no repetition_penalty).

    Raises:
        ValueError: one of them is out of its range, or an address holds a password.
    """

    base_urls: Sequence[str] = (BASE_URL,)
    api_key: str | None = None
    timeout: float = 300.0
    patience: float = 300.0
    wait: float = 15.0
    concurrency: int = 64
    openai_only: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.base_urls, str) or not isinstance(self.base_urls, Sequence) or not self.base_urls:
            raise ValueError("base_urls must be a list with at least one address")
        for url in self.base_urls:
            check_address(url)
        check_key(self.api_key)
        check_seconds("timeout", self.timeout)
        check_seconds("patience", self.patience)
        check_seconds("wait", self.wait, zero=True)
        check_concurrency(self.concurrency)

    def client(self, notice: Callable[[str], None] = tell) -> "Client":
        """A client of these servers; ``notice`` gets a line when a server fails and when it answers again."""
        return Client(self.base_urls, self.api_key, self.timeout, self.patience, notice)


@dataclass(slots=True)
class Client:
    """A pool of servers that serve the same model.

    Use as an async context manager. ``timeout`` and ``patience`` are those of `Connection`; ``notice`` gets one line
    when a server goes down and one when it is up again. ``unfit`` says why a server that answers again must not be
    asked after all; it gets what the server's ``/models`` returns.
    """

    base_urls: Sequence[str]
    api_key: str | None = None
    timeout: float = 300.0
    patience: float = 300.0
    notice: Callable[[str], None] = lambda line: None
    unfit: Callable[[Server, bytes], str | None] = lambda server, models: None
    servers: list[Server] = field(init=False)
    _session: "aiohttp.ClientSession" = field(init=False)
    _answers: int = field(init=False, default=0)
    _failing: set[object] = field(init=False, default_factory=set)  # requests that failed since the last answer
    _problem: str = field(init=False, default="")  # the last failure
    _deadline: float | None = field(init=False, default=None)  # when patience ends, if the servers are failing
    _waiting: set[asyncio.Timeout] = field(init=False, default_factory=set)  # of all requests
    _probes: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _noticed: set[str] = field(init=False, default_factory=set)

    async def __aenter__(self) -> Self:
        self.servers = [Server(check_address(url)) for url in self.base_urls]
        self._session = new_session(self.base_urls, self.api_key, self.timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        await self._session.close()

    async def ask(self, body: dict[str, Any], what: str) -> Reply:
        """Get the answer to one chat completion request; ``what`` names it in errors (a record's id).

        vLLM gives an answer the room that its prompt leaves, but refuses a ``max_tokens`` above the whole context, so
        it is lowered to that.

        Raises:
            RecordRefused, RecordFailed, RequestRefused, ServerUnavailable: see the table above.
        """
        contexts = [server.context for server in self.servers if server.context]
        if "max_tokens" in body:
            body = {**body, "max_tokens": min([body["max_tokens"], *contexts])}
        if self._deadline and not self._waiting and self._deadline < asyncio.get_running_loop().time():
            self._deadline = None  # it passed while nobody was asking
        patience = asyncio.timeout_at(self._deadline)
        try:
            async with patience:
                self._waiting.add(patience)
                reply = await self._until_answered(encoded(body), what)
        except TimeoutError:
            raise ServerUnavailable(f"{self._problem}; no answer for {self.patience:.0f} s") from None
        finally:
            self._waiting.discard(patience)
        # Answers are stored and read back, so a server must not decide how long they are.
        if "max_tokens" in body and len(reply.answer) > LONGEST_TOKEN * body["max_tokens"]:
            problem = f"an answer of {len(reply.answer):,} characters to a request for {body['max_tokens']:,} tokens"
            raise RecordRefused(f"{shown(what)}: {problem}; does the server know max_tokens?")
        return reply

    def notice_once(self, line: str) -> None:
        """Give `notice` a line, unless it had it before."""
        if line not in self._noticed:
            self._noticed.add(line)
            self.notice(line)

    async def _until_answered(self, data: bytes, what: str) -> Reply:
        failed = hops = 0
        delay = FIRST_DELAY
        server = None
        at_first, this = self._answers, object()
        while True:
            server = await self._server(server)
            before = self._answers
            result = await self._attempt(server, data)
            if isinstance(result, Reply):
                return result
            problem = f"{server.url}: {shown(what)}: {result.problem}"
            if result.status in DOWN:
                hops += 1
                if hops < len(self.servers):
                    self._fails(problem)
                    continue  # fail over at once
                # A server that is down answers nobody. If other requests were answered meanwhile and none of them is
                # failing too, this request is at fault; otherwise keep waiting.
                self._failing.add(this)
                failed += self._answers > before or (self._answers > at_first and self._failing == {this})
            elif result.status != 429:
                failed += 1
            stop_retrying(result.status, failed, problem, self._answered)
            self._fails(problem)
            await asyncio.sleep(self._pause(result, delay))
            delay = min(2 * delay, LONGEST_DELAY)
            hops = 0

    async def _attempt(self, server: Server, data: bytes) -> Reply | Failure:
        started = time.perf_counter()
        server.in_flight += 1
        try:
            status, headers, content = await post(self._session, f"{server.url}/chat/completions", data)
        except OSError as error:
            problem = in_words(error, self.timeout)
            self._no_answer(server, problem)
            return Failure(0, problem)
        finally:
            server.in_flight -= 1
        try:
            if status == 200:
                reply = read_reply(content, time.perf_counter() - started)
                server.failures = 0
                self._answered()
                return reply
            problem = f"HTTP {status}: {error_text(content)}"
        except MalformedReply as error:
            problem = str(error)
        if status in DOWN:
            self._no_answer(server, problem)
        return Failure(status, problem, retry_after(headers) if status in (429, 503) else None)

    async def get(self, url: str) -> tuple[int, bytes]:
        """GET an address; returns status and content.

        Raises:
            OSError: no answer within ``PROBE_TIMEOUT``.
        """
        return await get(self._session, url, min(PROBE_TIMEOUT, self.timeout))

    async def _server(self, last: Server | None) -> Server:
        """The least busy server that is up, preferably not the last one; waits until there is one."""
        while True:
            up = [server for server in self.servers if server.up]
            if up:
                return min(up, key=lambda server: (server is last, server.in_flight))
            self._fails(self._problem or f"{', '.join(server.url for server in self.servers)}: down")
            await asyncio.sleep(random.uniform(0.05, 0.15))

    def _no_answer(self, server: Server, problem: str) -> None:
        server.failures += 1
        if server.up and server.failures >= TRIP:
            self.mark_down(server, problem)

    def mark_down(self, server: Server, problem: str) -> None:
        """Send a server no requests until its ``/models`` answers again."""
        server.up = False
        others = sum(other.up for other in self.servers)
        now = f"its requests go to the other {others}" if others else f"trying for {self.patience:.0f} s"
        self.notice(f"{server.url} does not answer ({problem}); {now}")
        probe = asyncio.create_task(self._probe(server))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    async def _probe(self, server: Server) -> None:
        delay = FIRST_DELAY
        noticed = None
        while not server.up:
            await asyncio.sleep(delay * random.uniform(0.5, 1))
            delay = min(2 * delay, 5.0)
            try:
                status, content = await self.get(f"{server.url}/models")
            except OSError:
                continue  # still down
            problem = self.unfit(server, content) if status == 200 else None
            if problem and problem != noticed:
                self.notice(f"{problem}; it is left out")
                noticed = problem
            server.up = status < 500 and not problem
        server.failures = 0
        self.notice(f"{server.url} answers again")

    def _fails(self, problem: str) -> None:
        """A request failed: unless one is answered, all of them end when patience does."""
        self._problem = problem
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self.patience
            self._reschedule()

    def _answered(self) -> None:
        self._answers += 1
        self._failing.clear()
        if self._deadline is not None:
            self._deadline = None
            self._reschedule()

    def _reschedule(self) -> None:
        for waiting in self._waiting:
            if not waiting.expired():
                waiting.reschedule(self._deadline)

    def _pause(self, failure: Failure, delay: float) -> float:
        """Seconds before the next attempt; requests that failed at the same time must not come back together."""
        if failure.status != 429 and failure.wait is None:
            return delay * random.uniform(0.5, 1)
        least = delay if failure.wait is None else failure.wait
        return max(FIRST_DELAY, min(least * random.uniform(1, 1.25), self.patience))


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on uvloop, which takes less CPU time per request than asyncio's own loop (docs/log.md)."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
