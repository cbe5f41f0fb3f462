"""ASGI middleware for vLLM: any OpenAI client chooses a soft prompt by its model name, just like a LoRA module.

`ner-model serve` makes vLLM accept and list the names (`--served-model-name` takes several); NER_SOFT_PROMPTS says
what each means: {"base": name, "soft_prompts": {name: {"text": tokens before the prompt, "prefix": bool}}}.
A request for such a name gets the text through the chat template's variable `soft_prompt`, a cache of its own
(`cache_salt`: the placeholders of two prefixes are the same tokens), and the soft prompt's name in the answer.
"""

import hashlib
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypedDict

from ner_common.decoding import decode_json

VARIABLE = "NER_SOFT_PROMPTS"
TOO_DEEP = "the request is nested too deeply"
BODY_BYTES = 64 << 20  # of a request: a thousand times what fits into a context; vLLM itself would read any length
CHAT = "/v1/chat/completions"
# With these, vLLM recomputes the prompt without the prefix, or cuts off the placeholders.
REFUSED = ("prompt_logprobs", "echo", "truncate_prompt_tokens", "chat_template", "kv_transfer_params")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class SoftPrompt(TypedDict):
    """What a name means: the tokens before the prompt, and whether they stand for a prefix in the cache."""

    text: str
    prefix: bool


class _Settings(TypedDict):
    base: str
    soft_prompts: dict[str, SoftPrompt]


class SoftPromptNames:
    """Wraps vLLM's application; requests for other names pass through untouched."""

    def __init__(self, app: App) -> None:
        self.app = app
        settings = decode_json(os.environ[VARIABLE], _Settings)
        self.base, self.soft_prompts = settings["base"], settings["soft_prompts"]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        body = await whole_body(receive)
        if body is None:
            return await refuse(send, 413, f"the request has more than {BODY_BYTES:,} bytes")
        try:
            request = _as_object(body)
        except RecursionError:
            return await refuse(send, 400, TOO_DEEP)
        name = request.get("model") if request else None
        if request is None or not isinstance(name, str) or name not in self.soft_prompts:
            return await self.app(scope, _replay(body, receive), send)
        if problem := refusal(scope["path"], request):
            return await refuse(send, 400, problem)
        try:
            body = json.dumps(apply(request, name, self.soft_prompts[name])).encode()
        except (RecursionError, ValueError):
            return await refuse(send, 400, TOO_DEEP)
        scope["headers"] = _with_length(scope["headers"], len(body))
        return await self.app(scope, _replay(body, receive), _renaming(send, self.base, name))


def refusal(path: str, request: dict[str, Any]) -> str | None:
    """Why a request for a soft prompt cannot be answered as it is, or None."""
    name = request["model"]
    if not path.endswith(CHAT):
        return f"{name} is a soft prompt: it answers {CHAT} only, not {path}"
    if not isinstance(request.get("chat_template_kwargs") or {}, dict):
        return "chat_template_kwargs: not an object"
    if given := [key for key in REFUSED if request.get(key) not in (None, False)]:
        return f"{name} is a soft prompt: remove {', '.join(given)} from the request"
    return None


def limits(names: list[str]) -> str:
    """What vLLM cannot do with soft prompts, in one line for the user who starts it; clients get `refusal`."""
    return f"{', '.join(names)}: soft prompts answer {CHAT} only, and no request with {', '.join(REFUSED)}"


def apply(request: dict[str, Any], name: str, soft_prompt: SoftPrompt) -> dict[str, Any]:
    """The chat request that makes vLLM put the soft prompt `name` before the conversation."""
    changed = dict(request)
    changed["chat_template_kwargs"] = {
        **(request.get("chat_template_kwargs") or {}),
        "soft_prompt": soft_prompt["text"],
    }
    salt = f"{name}\0{request.get('cache_salt') or ''}"
    changed["cache_salt"] = hashlib.sha256(salt.encode()).hexdigest()  # vLLM allows few characters in a salt
    if soft_prompt["prefix"]:
        changed["kv_transfer_params"] = {"prefix": name}
    return changed


def _as_object(body: bytes) -> dict[str, Any] | None:
    """The request as vLLM will read it: with the same reader, for one that read less would lose a soft prompt."""
    try:
        request = json.loads(body)
    except ValueError:
        return None  # vLLM reports what is wrong with it
    return request if isinstance(request, dict) else None


async def whole_body(receive: Receive) -> bytes | None:
    """The body of a request; None if it is longer than `BODY_BYTES`."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > BODY_BYTES:
            return None
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body once, then whatever the client sends next (its disconnection)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _renaming(send: Send, base: str, name: str) -> Send:
    """A `send` that puts the requested name where vLLM names its base model, in plain and in streamed answers."""
    old, new = (f'"model":{json.dumps(model, ensure_ascii=False)}'.encode() for model in (base, name))
    held: Message | None = None

    async def renamed(message: Message) -> None:
        nonlocal held
        if message["type"] == "http.response.start":
            held = message
            return
        if message["type"] == "http.response.body":
            message["body"] = message.get("body", b"").replace(old, new, 1)
        if held is not None:
            start, held = held, None
            if any(key.lower() == b"content-length" for key, _ in start["headers"]):
                start["headers"] = _with_length(start["headers"], len(message["body"]))
            await send(start)
        await send(message)

    return renamed


def _with_length(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    kept = [(key, value) for key, value in headers if key.lower() != b"content-length"]
    return [*kept, (b"content-length", str(length).encode())]


async def refuse(send: Send, status: int, problem: str) -> None:
    """Send an error in OpenAI's form."""
    await respond(send, status, {"error": {"message": problem, "type": "BadRequestError", "code": status}})


async def respond(send: Send, status: int, content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
