"""Reading a chat completion from its HTTP response::

{"choices": [{"message": {"content": "[{\"label\":…}]"}, "finish_reason": "stop"}],
 "usage": {"prompt_tokens": 131, "completion_tokens": 12}}
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import msgspec

from ner_common.decoding import convert, decode_json
from ner_common.errors import one_line
from ner_eval.confidence.tokens import Token, tokens_of

LONGEST_WAIT = 600.0  # seconds
LARGEST = 1 << 20  # bytes of one reply: far more than any answer; many may arrive at once
# How vLLM ends, with HTTP 200, the answers that it is writing when it is stopped or fails: they are not complete.
ABORTED = ("abort", "error")


class MalformedReply(ValueError):
    """A response body that is not a chat completion."""


class AbortedReply(MalformedReply):
    """An answer that the server broke off."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    ``seconds``: duration of the request that was answered, without waits and earlier attempts. ``tokens``: see
    `ner_eval.confidence.tokens.tokens_of`.
    """

    answer: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    tokens: tuple[Token, ...] | None = None


Tokens = Annotated[float, msgspec.Meta(ge=0, le=1e9)]  # some servers write 12.0


class _Usage(msgspec.Struct):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None


class _Message(msgspec.Struct):
    content: str | None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: Annotated[str, msgspec.Meta(max_length=100)] | None
    logprobs: Any = None  # it does not matter what a server sends that was not asked for any


class _Completion(msgspec.Struct):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Usage | None = None


class _Failed(msgspec.Struct):
    """What servers say of an error: OpenAI's ``error.message``, FastAPI's ``detail``, others' ``message``."""

    error: Any = None
    detail: Any = None
    message: Any = None


def read_reply(content: bytes, seconds: float) -> Reply:
    """Read a response body; a content of null is an empty answer, missing usage counts as 0 tokens.

    Raises:
        MalformedReply: it is not a chat completion, it is too large, or the server broke it off.
    """
    if len(content) > LARGEST:
        raise MalformedReply(f"malformed reply (more than {LARGEST:,} bytes)")
    try:
        return _reply(decode_json(content, _Completion), seconds)
    except AbortedReply:
        raise
    except ValueError:
        raise MalformedReply(
            f"malformed reply (not a chat completion): {one_line(content[:200].decode(errors='replace'))}"
        ) from None


def reply_of(value: Any, seconds: float) -> Reply:
    """Read a decoded chat completion.

    Raises:
        MalformedReply: it is not one, or the server broke it off.
    """
    try:
        return _reply(convert(value, _Completion), seconds)
    except AbortedReply:
        raise
    except ValueError:
        raise MalformedReply("malformed reply (not a chat completion)") from None


def _reply(value: _Completion, seconds: float) -> Reply:
    choice, usage = value.choices[0], value.usage or _Usage()
    if choice.finish_reason in ABORTED:
        raise AbortedReply(f"the server broke the answer off (finish_reason {choice.finish_reason})")
    counts = int(usage.prompt_tokens or 0), int(usage.completion_tokens or 0)
    answer = choice.message.content or ""
    tokens = tokens_of(choice.logprobs, answer, choice.finish_reason == "stop")
    return Reply(answer, choice.finish_reason or "", *counts, round(seconds, 4), tokens)


def error_text(content: bytes) -> str:
    """A server's error message (see `_Failed`), or the beginning of the body, on one line."""
    try:
        value = decode_json(content, _Failed)
    except ValueError:
        value = _Failed()
    error = value.error
    said = error.get("message") if isinstance(error, dict) else error or value.detail or value.message
    return one_line(said if said else content[:200].decode(errors="replace"), 200)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks the client to wait (``Retry-After``: a number or a date); at most `LONGEST_WAIT`."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:  # then it is a date
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError, IndexError):
            return None
    return min(max(0.0, seconds), LONGEST_WAIT)
