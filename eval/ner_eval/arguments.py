"""Arguments that every command which asks a server shares."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from ner_eval.client import Client
from ner_eval.structured import MODES

Number = TypeVar("Number", int, float)
BASE_URL = "http://127.0.0.1:8000/v1"


def positive(kind: type[Number]) -> Callable[[str], Number]:
    """An argparse type: a number above zero."""

    def number(text: str) -> Number:
        value = kind(text)
        if not value > 0:
            raise ValueError
        return value

    number.__name__ = f"positive {kind.__name__}"
    return number


def base_url(text: str) -> str:
    """An argparse type: a server's address; ``/v1`` is added to one that has no path."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise argparse.ArgumentTypeError(f"{text!r} is no address such as {BASE_URL}")
    return text.rstrip("/") if parts.path.strip("/") else text.rstrip("/") + "/v1"


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="NAME", help="a name that the server serves")
    parser.add_argument(
        "--base-url",
        action="append",
        type=base_url,
        metavar="URL",
        help=f"a server of that model; give it again for more servers (default: {BASE_URL})",
    )
    parser.add_argument("--api-key", metavar="KEY", help="default: the environment's OPENAI_API_KEY")
    parser.add_argument(
        "--concurrency", type=positive(int), default=64, metavar="N", help="requests in flight (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=positive(float),
        default=300,
        metavar="S",
        help="seconds for one attempt (default: %(default)s)",
    )
    parser.add_argument(
        "--patience",
        type=positive(float),
        default=300,
        metavar="S",
        help="seconds to go on without any answer when a server fails half-way (default: %(default)s)",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=15,
        metavar="S",
        help="seconds to wait for a server at the start (default: %(default)s)",
    )
    parser.add_argument(
        "--openai-only", action="store_true", help="send OpenAI's own parameters only (no repetition_penalty)"
    )


def add_prompt_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prompt", type=Path, metavar="FILE", help="prompt spec (default: the model folder's, the corpus's)"
    )
    parser.add_argument("--adapter", type=Path, metavar="DIR", help="folder with the model's ner_prompt.json")
    parser.add_argument(
        "--allow-other-prompt", action="store_true", help="insist on a prompt with other labels or form"
    )
    parser.add_argument(
        "--structured",
        choices=MODES,
        default="off",
        help="force the form of the answer (json), or its surfaces too (grammar); default: %(default)s",
    )


def client_of(args: argparse.Namespace) -> Client:
    """The client that the arguments describe; it tells of lost servers on stderr."""
    args.base_url = args.base_url or [BASE_URL]
    key = args.api_key or os.environ.get("OPENAI_API_KEY")
    return Client(args.base_url, key, args.timeout, args.patience, tell)


def tell(line: str) -> None:
    """Print a line on stderr above the progress bar."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


@contextmanager
def fail_first() -> Iterator[None]:
    """Raise the first error of a task group as it is, not wrapped in a group."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
