"""HTTP as the client needs it: bounded bodies, no redirects, one kind of error.

aiohttp rather than httpx, which takes over ten times the CPU time per request (docs/log.md) and would slow a fast
server down. ``vllm bench serve`` uses aiohttp too.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ner_eval.inference.checks import check_key
from ner_eval.inference.reply import LARGEST

if TYPE_CHECKING:
    import aiohttp

LARGEST_LIST = 8 << 20  # bytes of /models; some services list hundreds of models
INTERIM = 32  # responses to one request; HTTP servers send one or two, if any


def new_session(urls: Sequence[str], api_key: str | None, timeout: float) -> "aiohttp.ClientSession":
    import aiohttp

    headers = {"Content-Type": "application/json"}
    if api_key:
        check_key(api_key)
        headers["Authorization"] = f"Bearer {api_key}"
    return aiohttp.ClientSession(
        connector=_connector(),
        timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(10.0, timeout)),
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        # The environment's proxy settings are not meant for a server on this machine.
        trust_env=not all("//127.0.0.1" in url or "//localhost" in url for url in urls),
    )


def _connector() -> "aiohttp.TCPConnector":
    import aiohttp
    from aiohttp.client_proto import ResponseHandler

    class Bounded(ResponseHandler):
        """aiohttp queues interim responses (100 Continue) without a bound."""

        def feed_data(self, data: Any, size: int = 0) -> None:
            if self.exception() is None:
                super().feed_data(data, size)
                if len(self) > INTERIM:
                    self.set_exception(aiohttp.ClientPayloadError("too many interim responses"))
                    if self.transport:
                        self.transport.abort()

    # The caller bounds the requests in flight. uvicorn closes idle connections after 5 s: close first.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)
    handler: type[ResponseHandler] = Bounded
    connector._factory = partial(handler, loop=asyncio.get_running_loop())
    return connector


async def post(session: "aiohttp.ClientSession", url: str, data: bytes) -> tuple[int, Mapping[str, str], bytes]:
    """POST a request; returns status, headers and the body, up to a little more than `LARGEST` bytes of it.

    Raises:
        OSError: there is no answer.
    """
    import aiohttp

    try:
        # A redirected POST would arrive as a GET: report the redirect instead.
        async with session.post(url, data=data, allow_redirects=False) as response:
            return response.status, response.headers, await _body(response.content, LARGEST)
    except (aiohttp.ClientError, aiohttp.EofStream, UnicodeError) as error:  # the last: no host name
        raise _os_error(error) from error


async def get(session: "aiohttp.ClientSession", url: str, timeout: float) -> tuple[int, bytes]:
    """GET an address; returns status and body, up to a little more than `LARGEST_LIST` bytes of it.

    Raises:
        OSError: no answer within ``timeout`` seconds.
    """
    import aiohttp

    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(timeout), allow_redirects=False) as response:
            return response.status, await _body(response.content, LARGEST_LIST)
    except (aiohttp.ClientError, aiohttp.EofStream, UnicodeError) as error:  # the last: no host name
        raise _os_error(error) from error


async def _body(content: "aiohttp.StreamReader", most: int) -> bytes:
    body = bytearray()
    while len(body) <= most and (block := await content.readany()):  # decompressed block by block
        body += block
    return bytes(body)


def _os_error(error: Exception) -> OSError:
    """Some of aiohttp's errors are OSErrors (as TimeoutError is), some are not."""
    return ConnectionError(str(error) or type(error).__name__)


def encoded(body: dict[str, Any]) -> bytes:
    """A request body as sent. A lone surrogate, which UTF-8 cannot encode, becomes "?", which keeps the offsets."""
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
