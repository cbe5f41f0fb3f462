"""What a server serves: ``GET /v1/models``.

vLLM's answer, with one LoRA module (``root`` is its folder, ``parent`` the base model)::

    {"data": [{"id": "nano", "root": "data/nano", "parent": null, "max_model_len": 1024},
              {"id": "nano-demo", "root": "saves/nano/lora/demo", "parent": "nano"}]}
"""

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path

from ner_data.errors import UserError, one_line
from ner_eval.client import KEY_REMEDY, Client, Server
from ner_eval.reply import error_text


@dataclass(frozen=True, slots=True)
class Served:
    """The model we ask for: its name, its folder where the server gives one, and the server's release if it tells."""

    name: str
    folder: Path | None
    version: str | None


async def find_model(client: Client, name: str, wait: float) -> Served:
    """Make sure that the servers serve a model; those that do not answer within ``wait`` seconds are marked as down.

    Raises:
        UserError: none of them answers, or one that does refuses the key, has no ``/models``, or lacks the model.
    """
    answers = await asyncio.gather(*(_list(client, server, wait) for server in client.servers))
    for server, answer in zip(client.servers, answers, strict=True):
        if isinstance(answer, str) and any(isinstance(other, dict) for other in answers):
            client.mark_down(server, answer)
        elif isinstance(answer, str):
            raise UserError(f"{server.url}: {answer}; start the server with `make serve`, or name another --base-url")
        elif name not in answer:
            served = ", ".join(sorted(answer)) or "nothing"
            raise UserError(f"{server.url}: does not serve the model {name!r}; it serves: {served}")
    pairs = zip(client.servers, answers, strict=True)
    server, folder = next((server, answer[name]) for server, answer in pairs if isinstance(answer, dict))
    return Served(name, folder, await _version(client, server))


async def _list(client: Client, server: Server, wait: float) -> dict[str, Path | None] | str:
    """Served names and their folders, or in words why the server gave no list."""
    until = time.monotonic() + wait
    told = False
    while True:
        try:
            status, content = await client.get(f"{server.url}/models")
        except OSError as error:
            status, content = 0, b""
            timed_out = isinstance(error, TimeoutError)
            problem = "takes the connection and does not answer" if timed_out else f"no server there ({_words(error)})"
        else:
            problem = f"HTTP {status}: {error_text(content)}"
        if status in (401, 403):
            raise UserError(f"{server.url}: {problem}; {KEY_REMEDY}")
        if status == 200:
            return _read(server, content)
        if status and status < 500 and status != 429:
            raise UserError(
                f"{server.url}: {problem}; is this an OpenAI-compatible server, and does its address end in /v1?"
            )
        if time.monotonic() >= until:
            return problem + (" or it is still loading" if not status else "")
        if not told:
            client.notice(f"{server.url}: {problem}; waiting up to {wait:.0f} s for it")
            told = True
        await asyncio.sleep(0.5)


def _words(error: OSError) -> str:
    return one_line(error.strerror or str(error), 100).strip("'\"")


def _read(server: Server, content: bytes) -> dict[str, Path | None]:
    try:
        cards = json.loads(content)["data"]
        return {card["id"]: Path(card["root"]) if isinstance(card.get("root"), str) else None for card in cards}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        shown = one_line(content[:100].decode(errors="replace"))
        raise UserError(
            f"{server.url}: /models gave no list of models ({shown}); is this an OpenAI-compatible server?"
        ) from None


async def _version(client: Client, server: Server) -> str | None:
    """vLLM's release; other servers need not tell theirs."""
    try:
        status, content = await client.get(server.url.removesuffix("/v1") + "/version")
        value = json.loads(content) if status == 200 else {}
    except (OSError, ValueError, RecursionError):
        return None
    version = value.get("version") if isinstance(value, dict) else None
    return version if isinstance(version, str) else None
