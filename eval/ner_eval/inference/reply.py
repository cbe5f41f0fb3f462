"""Reading a chat completion from its HTTP response::

{"choices": [{"message": {"content": "[{\"label\":…}]"}, "finish_reason": "stop"}],
 "usage": {"prompt_tokens": 131, "completion_tokens": 12}}
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from ner_common.errors import one_line

LONGEST_WAIT = 600.0  # seconds
# How vLLM ends, with HTTP 200, the answers that it is writing when it is stopped or fails: they are not complete.
ABORTED = ("abort", "error")


class MalformedReply(ValueError):
    """A response body that is not a chat completion."""


class AbortedReply(MalformedReply):
    """An answer that the server broke off."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. ``seconds``: duration of the request that was answered, without waits and earlier attempts."""

    answer: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


def read_reply(content: bytes, seconds: float) -> Reply:
    """Read a response body; a content of null is an empty answer, missing usage counts as 0 tokens.

    Raises:
        MalformedReply: it is not a chat completion, or the server broke it off.
    """
    try:
        return reply_of(json.loads(content), seconds)
    except AbortedReply:
        raise
    except (ValueError, RecursionError):
        raise MalformedReply(
            f"malformed reply (not a chat completion): {one_line(content[:200].decode(errors='replace'))}"
        ) from None


def reply_of(value: Any, seconds: float) -> Reply:
    """Read a decoded chat completion.

    Raises:
        MalformedReply: it is not one, or the server broke it off.
    """
    try:
        choice = value["choices"][0]
        answer, finish_reason = choice["message"]["content"], choice["finish_reason"]
        usage = value.get("usage") or {}
        tokens = [int(usage.get(key, 0)) for key in ("prompt_tokens", "completion_tokens")]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise MalformedReply("malformed reply (not a chat completion)") from None
    if not isinstance(answer, str | None) or not isinstance(finish_reason, str | None):
        raise MalformedReply("malformed reply (not a chat completion)")
    if finish_reason in ABORTED:
        raise AbortedReply(f"the server broke the answer off (finish_reason {finish_reason})")
    return Reply(answer or "", finish_reason or "", tokens[0], tokens[1], round(seconds, 4))


def error_text(content: bytes) -> str:
    """A server's error message: OpenAI's ``error.message``, FastAPI's ``detail``, or the beginning of the body."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    said: Any = None
    if isinstance(value, dict):
        error = value.get("error")
        said = (
            error.get("message") if isinstance(error, dict) else error or value.get("detail") or value.get("message")
        )
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
        except (TypeError, ValueError):
            return None
    return min(max(0.0, seconds), LONGEST_WAIT)
