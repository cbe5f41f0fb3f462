"""Arguments that several commands share, and what they become: the keyword arguments of the functions behind them."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ner_eval.inference.client import BASE_URL, Connection
from ner_eval.inference.request import MODES

Number = TypeVar("Number", int, float)


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


def connection(args: argparse.Namespace) -> Connection:
    """What `add_server_arguments` says of the servers."""
    return Connection(
        base_urls=tuple(args.base_url or [BASE_URL]),
        api_key=args.api_key or os.environ.get("OPENAI_API_KEY"),
        timeout=args.timeout,
        patience=args.patience,
        wait=args.wait,
        concurrency=args.concurrency,
        openai_only=args.openai_only,
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


def prompting(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_prompt_arguments` says of the prompt, as keyword arguments."""
    return {
        "prompt": args.prompt,
        "adapter": args.adapter,
        "allow_other_prompt": args.allow_other_prompt,
        "structured": args.structured,
    }


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """What every command that reads runs can be told."""
    parser.add_argument("--gold", type=Path, metavar="FILE", help="the gold file, where it has moved since the run")
    parser.add_argument("--partial", action="store_true", help="score what is answered although answers are missing")
    parser.add_argument(
        "--allow-other-labels",
        action="store_true",
        help="score although gold has labels that the model was not asked for (they count as missed)",
    )


def loading(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_run_arguments` says, as keyword arguments of `load_run`."""
    return {"gold": args.gold, "partial": args.partial, "allow_other_labels": args.allow_other_labels}
