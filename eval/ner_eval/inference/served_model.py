"""The model to ask: whether a server serves it (``GET /v1/models``), and the prompt it was trained with.

vLLM's answer, with one LoRA module (``root`` is its folder, ``parent`` the base model)::

    {"data": [{"id": "nano", "root": "data/nano", "parent": null, "max_model_len": 1024},
              {"id": "nano-demo", "root": "saves/nano/lora/demo", "parent": "nano"}]}
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ner_common.adapters import WEIGHTS
from ner_common.decoding import decode_json
from ner_common.errors import UserError, one_line, rooted
from ner_common.fingerprints import file_fingerprint, weights_fingerprint
from ner_data.alpaca import spec_file
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval.inference.checks import KEY_REMEDY
from ner_eval.inference.client import Client, Server
from ner_eval.inference.failures import shown
from ner_eval.inference.reply import error_text

SHOWN = 20  # names of served models in an error


class Exchanged(UserError):
    """A server serves another model than before under the same name."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model on servers: its name, its folder and the server's version, as far as a server reports them.

    ``folders`` are those that each server names, by its address.
    """

    name: str
    folder: Path | None
    version: str | None
    folders: Mapping[str, Path | None] = field(default_factory=dict)


class _Card(msgspec.Struct):
    id: str
    root: Any = None  # other servers may mean something else by these
    max_model_len: Any = None


class _Cards(msgspec.Struct):
    data: list[_Card]


class _Version(msgspec.Struct):
    version: Annotated[str, msgspec.Meta(max_length=100)]


async def find_model(client: Client, name: str, wait: float, adapter: Path | None = None) -> Served:
    """Check that the servers serve a model; those that do not answer within ``wait`` seconds are marked down.

    All must serve the same weights, and those of ``adapter`` if it is given, as far as their folders can be read here.
    A server that answers later is checked then.

    Raises:
        UserError: none of them answers; one that does refuses the key, has no ``/models``, lacks the model, or serves
            other weights under its name.
    """

    def problem_of(server: Server, answer: Mapping[str, Path | None]) -> str | None:
        return _lacks(server, name, answer) or _differs(server, name, answer[name], weights, adapter)

    def unfit(server: Server, models: bytes) -> str | None:
        try:
            return problem_of(server, _read(server, models))
        except (UserError, OSError) as error:
            return said(error)

    answers = await asyncio.gather(*(_list(client, server, wait) for server in client.servers))
    folders: dict[str, Path | None] = {}
    weights: dict[str, str | None] = {}  # as they are now: a folder may be trained into again
    for server, answer in zip(client.servers, answers, strict=True):
        if isinstance(answer, str) and any(isinstance(other, dict) for other in answers):
            client.mark_down(server, answer)
        elif isinstance(answer, str):
            raise UserError(f"{server.url}: {answer}; start the server with `make serve`, or name another --base-url")
        elif problem := problem_of(server, answer):
            raise UserError(problem)
        else:
            folders[server.url], weights[server.url] = answer[name], weights_fingerprint(answer[name])
    client.unfit = unfit
    first = next(server for server in client.servers if server.url in folders)
    return Served(name, folders[first.url], await _version(client, first), folders)


async def require_unchanged(client: Client, served: Served) -> None:
    """Check, after the last answer, that no server has exchanged the model meanwhile; one that is down cannot tell.

    Raises:
        Exchanged: one has.
    """
    for server in client.servers:
        answer = await _list(client, server, wait=0) if server.up and server.url in served.folders else ""
        if isinstance(answer, dict) and answer.get(served.name) != served.folders[server.url]:
            before, now = served.folders[server.url], answer.get(served.name)
            raise Exchanged(f"{server.url}: {served.name} was exchanged meanwhile ({before} before, {now} now)")


async def serves(client: Client, name: str) -> bool:
    """Whether one of the servers answers now and serves the model."""
    answers = await asyncio.gather(
        *(_list(client, server, wait=0) for server in client.servers), return_exceptions=True
    )
    return any(isinstance(answer, dict) and name in answer for answer in answers)


def _lacks(server: Server, name: str, answer: Mapping[str, Path | None]) -> str | None:
    if name in answer:
        return None
    names = [shown(served) for served in sorted(answer)[:SHOWN]]
    more = f" and {len(answer) - SHOWN} more" if len(answer) > SHOWN else ""
    served = ", ".join(names) + more if names else "nothing"
    return f"{server.url}: does not serve the model {one_line(name)}; it serves: {served}"


def _differs(
    server: Server, name: str, folder: Path | None, others: Mapping[str, str | None], adapter: Path | None
) -> str | None:
    """Why a server must not be asked: its weights are not those found before (by address), or not the adapter's."""
    weights = weights_fingerprint(folder)
    for url, theirs in others.items():
        if weights and theirs and theirs != weights:
            problem = f"serves {name} with other weights ({weights}) than {url} did ({theirs})"
            return f"{server.url}: {problem}; ask them one after the other, or exchange one with `ner-model reload`"
    served = folder / WEIGHTS if folder else None
    named = adapter / WEIGHTS if adapter else None
    if not (served and named and served.is_file() and named.is_file()):
        return None
    if file_fingerprint(served) == file_fingerprint(named):
        return None
    problem = f"serves {name} from {rooted(served.parent)}, whose weights are not those of {rooted(named.parent)}"
    return f"{server.url}: {problem}; name the folder that is served, or serve this one"


async def _list(client: Client, server: Server, wait: float) -> dict[str, Path | None] | str:
    """Served names and their folders, or the reason why the server gave no list."""
    until = time.monotonic() + wait
    noticed = False
    while True:
        try:
            status, content = await client.get(f"{server.url}/models")
        except OSError as error:
            status, content = 0, b""
            timed_out = isinstance(error, TimeoutError)
            problem = (
                "accepts the connection but does not answer" if timed_out else f"no server there ({_words(error)})"
            )
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
        if not noticed:
            client.notice(f"{server.url}: {problem}; waiting up to {wait:.0f} s for it")
            noticed = True
        await asyncio.sleep(0.5)


def said(error: UserError | OSError) -> str:
    """An error in a notice: what the system says of a file names the file first."""
    if isinstance(error, UserError):
        return str(error)
    where = f"{rooted(Path(error.filename))}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _words(error: OSError) -> str:
    return one_line(error.strerror or str(error), 100).strip("'\"")


def _read(server: Server, content: bytes) -> dict[str, Path | None]:
    """The models that a server lists, and their folders; notes the server's context."""
    try:
        cards = decode_json(content, _Cards).data
    except ValueError:
        begins = one_line(content[:100].decode(errors="replace"))
        raise UserError(
            f"{server.url}: /models returned no list of models ({begins}); is this an OpenAI-compatible server?"
        ) from None
    # vLLM says it of the base model only, whose adapters have the same.
    contexts = [card.max_model_len for card in cards if type(card.max_model_len) is int and card.max_model_len > 0]
    server.context = max(contexts, default=None)
    return {card.id: _folder(card.root) for card in cards}


def _folder(root: Any) -> Path | None:
    """A folder that the server names, unless this machine cannot even look for it (too long, or with a zero byte)."""
    if not isinstance(root, str):
        return None
    try:
        Path(root, FILE_NAME).is_file()
    except (OSError, ValueError):
        return None
    return Path(root)


async def _version(client: Client, server: Server) -> str | None:
    """vLLM's version; other servers may not report theirs."""
    try:
        status, content = await client.get(server.url.removesuffix("/v1") + "/version")
        version = decode_json(content, _Version).version if status == 200 else None
    except (OSError, ValueError):
        return None
    return version if version and version.isprintable() else None


def choose_prompt(
    prompt: Path | None,
    folder: Path | None,
    corpus: str | None,
    labels: tuple[str, ...],
    allow_other: bool,
    openai_only: bool = False,
) -> PromptSpec:
    """Choose the prompt spec and check that it fits the model and the corpus.

    Args:
        prompt: a file; by default the model folder's ``ner_prompt.json``, else the corpus's prompt spec.
        folder: the adapter's or model's folder, if known; it need not have a ``ner_prompt.json``.
        corpus: name of the corpus, None for other texts.
        labels: the label set that the answers will be scored with; empty if they will not be scored.
        allow_other: accept other labels or another answer form.
        openai_only: requests cannot tell the chat template what it was told in training, which is warned of.

    Raises:
        UserError: there is no prompt spec, or its label set or answer form differs from the model's or the corpus's.
    """
    trained_file = folder / FILE_NAME if folder else None
    trained = PromptSpec.load(trained_file) if trained_file and trained_file.is_file() else None
    path = prompt or (trained_file if trained else spec_file(corpus) if corpus else None)
    if path is None:
        raise UserError(
            f"no prompt spec for this model: name it with --prompt, or the folder of its {FILE_NAME} with --adapter"
        )
    spec = PromptSpec.load(path, f"name one with --prompt, or run `make data CORPUS={corpus or '...'}`")
    if not allow_other:
        refuse_other(spec, path, trained, labels)
    if trained and trained.fingerprint != spec.fingerprint:
        print(f"note: {rooted(path)} is not the prompt that the model was trained with", file=sys.stderr)
    spec = replace(spec, enable_thinking=trained.enable_thinking) if trained else spec
    if openai_only and spec.enable_thinking is not None:
        told = f"enable_thinking: {str(spec.enable_thinking).lower()}"
        problem = f"with --openai-only, no request says {told}, as the training did"
        print(f"warning: {problem}; make it the server's default, or leave --openai-only out", file=sys.stderr)
    return spec


def refuse_other(spec: PromptSpec, path: Path, trained: PromptSpec | None, labels: tuple[str, ...]) -> None:
    """Raises:
    UserError: label set or answer form differ from the trained prompt's, or the label set from ``labels``.
    """
    override = "use --allow-other-prompt to ask anyway"
    if trained and set(trained.labels) != set(spec.labels):
        raise UserError(
            f"{rooted(path)}: the model was trained with the labels {', '.join(trained.labels)}; {override}"
        )
    if trained and trained.answer_form != spec.answer_form:
        raise UserError(f"{rooted(path)}: the model was trained to answer as {trained.answer_form}; {override}")
    if labels and set(labels) != set(spec.labels):
        raise UserError(
            f"{rooted(path)}: asks for {', '.join(spec.labels)}, the corpus has {', '.join(labels)}; {override}"
        )
