"""The model that is asked: does a server serve it (``GET /v1/models``), and which prompt was it trained with?

vLLM's answer, with one LoRA module (``root`` is its folder, ``parent`` the base model)::

    {"data": [{"id": "nano", "root": "data/nano", "parent": null, "max_model_len": 1024},
              {"id": "nano-demo", "root": "saves/nano/lora/demo", "parent": "nano"}]}
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ner_common.errors import UserError, one_line, rooted
from ner_data.alpaca import spec_file
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval.inference.client import KEY_REMEDY, Client, Server
from ner_eval.inference.reply import error_text


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


def choose_prompt(
    prompt: Path | None, folder: Path | None, corpus: str | None, labels: tuple[str, ...], allow_other: bool
) -> PromptSpec:
    """Choose the prompt spec and make sure that it suits model and corpus.

    Args:
        prompt: the file that the user names; else the model folder's ``ner_prompt.json``, else the corpus's.
        folder: the adapter's or model's folder, if known; one without ``ner_prompt.json`` says nothing.
        corpus: name of the corpus, or None outside a corpus.
        labels: the label set that the answers will be scored with; empty where they will not be.
        allow_other: the user insists.

    Raises:
        UserError: no prompt to be found; or label set or answer form differ from the model's or the corpus's.
    """
    trained_file = folder / FILE_NAME if folder else None
    trained = PromptSpec.load(trained_file) if trained_file and trained_file.is_file() else None
    path = prompt or (trained_file if trained else spec_file(corpus) if corpus else None)
    if path is None:
        raise UserError(
            f"no prompt known for this model: name it with --prompt FILE or --adapter DIR (its {FILE_NAME})"
        )
    spec = PromptSpec.load(path, f"name one with --prompt, or run `make data CORPUS={corpus or '...'}`")
    if not allow_other:
        refuse_other(spec, path, trained, labels)
    if trained and trained.fingerprint != spec.fingerprint:
        print(f"note: {rooted(path)} is not the prompt that the model was trained with", file=sys.stderr)
    return spec


def refuse_other(spec: PromptSpec, path: Path, trained: PromptSpec | None, labels: tuple[str, ...]) -> None:
    """Raises:
    UserError: label set or answer form differ from the trained prompt's, or the label set from ``labels``.
    """
    insist = "use --allow-other-prompt to insist"
    if trained and set(trained.labels) != set(spec.labels):
        raise UserError(f"{rooted(path)}: the model was trained with the labels {', '.join(trained.labels)}; {insist}")
    if trained and trained.answer_form != spec.answer_form:
        raise UserError(f"{rooted(path)}: the model was trained to answer as {trained.answer_form}; {insist}")
    if labels and set(labels) != set(spec.labels):
        raise UserError(
            f"{rooted(path)}: asks for {', '.join(spec.labels)}, the corpus has {', '.join(labels)}; {insist}"
        )
