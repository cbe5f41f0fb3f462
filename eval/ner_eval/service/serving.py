"""Run the application until a signal ends it."""

import asyncio
import re
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from ipaddress import ip_address

from ner_common.errors import UserError
from ner_eval.inference.client import Connection
from ner_eval.service.access import VARIABLE, Keys
from ner_eval.service.application import application
from ner_eval.service.metrics import Metrics
from ner_eval.service.models import follow, open_models
from ner_eval.service.service import Limits, Service

BACKLOG = 1024


def check_host(host: str, keys: Sequence[str], open_to_all: bool) -> None:
    """Raises:
    UserError: other machines could ask without a key, and nobody said that they may.
    """
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not (local or keys or open_to_all):
        raise UserError(
            f"--host {host}: other machines could ask without a key; name keys with --api-keys or {VARIABLE}, or "
            "allow it with --open"
        )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        UserError: it cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{host}:{port}: cannot listen there ({reason}); choose another --host or --port") from None


async def serve(
    words: Sequence[str],
    connection: Connection,
    *,
    listener: socket.socket,
    keys: Sequence[str],
    limits: Limits,
    structured: str,
    log_texts: bool,
) -> None:
    """Serve models, named as `ner_eval.service.models.named` reads them, until SIGTERM or SIGINT.

    Then no new connections are accepted, and requests in flight get up to their deadline.

    Raises:
        UserError: see `open_models`.
    """
    import uvicorn

    def notice(line: str) -> None:
        # What is in the brackets may quote a server, and a server may quote a text.
        print(line if log_texts else re.sub(r" \(.*\)", "", line), file=sys.stderr, flush=True)

    async with AsyncExitStack() as stack:
        models = await open_models(stack, words, structured, connection, notice)
        service = Service(models, Keys(keys), limits, Metrics(models), log_texts)
        config = uvicorn.Config(
            application(service), http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=int(limits.deadline) + 1,
        )  # fmt: skip
        host, port = listener.getsockname()[:2]
        at = f"[{host}]" if ":" in host else host
        who = f"{len(keys)} keys" if keys else "no keys"
        print(f"http://{at}:{port}: {', '.join(models)}; {who}", file=sys.stderr, flush=True)
        following = asyncio.create_task(follow(models))
        try:
            await uvicorn.Server(config).serve(sockets=[listener])
        finally:
            following.cancel()
