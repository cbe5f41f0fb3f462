"""What the failures of a server mean for one request and for the others: see `ner_eval.inference.client`."""

from collections.abc import Callable
from dataclasses import dataclass

from ner_common.errors import UserError, escaped, one_line
from ner_eval.inference.checks import KEY_REMEDY

ATTEMPTS = 8
DOWN = {0, 502, 503, 504}  # 0: no response at all
KEY_REFUSED, ADDRESS_REFUSED = {401, 402, 403, 407}, {404, 405, 410}
PASSING = {408, 429}


class RequestRefused(UserError):
    """A server refuses requests like this one; a retry would not help."""


class RecordRefused(RequestRefused):
    """A server refuses this one request, or fails on it; others may succeed."""


class RecordFailed(RecordRefused):
    """A server fails on this one request, time and again; or it fails on every request."""


class ServerUnavailable(UserError):
    """No server has answered for ``patience`` seconds."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt without an answer; ``wait``: seconds that the server asks the client to wait."""

    status: int
    problem: str
    wait: float | None = None


def refuses_the_record(status: int) -> bool:
    """Whether a status says that the server works and refuses this one request (400, 413, 422, …)."""
    return 400 <= status < 500 and status not in KEY_REFUSED | ADDRESS_REFUSED | PASSING


def stop_retrying(status: int, failed: int, problem: str, answered: Callable[[], None]) -> None:
    """Raise what a failure means, unless the request is to be sent again; a refusal counts as an answer."""
    if status in (0, 200) or status in PASSING or status >= 500:
        if failed >= ATTEMPTS:
            raise RecordFailed(f"{problem} ({failed} attempts); see the server's log")
        return
    answered()  # a refusal is an answer: the server works
    if status in KEY_REFUSED:
        raise RequestRefused(f"{problem}; {KEY_REMEDY}")
    elif status in ADDRESS_REFUSED or status < 400:
        raise RequestRefused(f"{problem}; is the address right (it ends in /v1), and is the model still served?")
    elif "repetition_penalty" in problem:
        raise RequestRefused(f"{problem}; use --openai-only for a server that accepts only OpenAI's own parameters")
    elif "context length" in problem:
        raise RecordRefused(f"{problem}; serve the model with a larger --max-model-len")
    elif "context size" in problem:  # llama-server's words
        raise RecordRefused(f"{problem}; serve the model with a larger --ctx-size")
    else:
        raise RecordRefused(f"{problem}; the server refuses this request")


def shown(name: str) -> str:
    """A record's id or another name from outside, as a part of one line."""
    return name if name.isprintable() and len(name) <= 200 else escaped(name, 200)


def in_words(error: OSError, timeout: float) -> str:
    """What went wrong with a connection."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:.0f} s"
    return one_line(str(error) or type(error).__name__, 120).strip("'\"")
