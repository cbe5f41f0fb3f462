"""Arguments shared by several commands, and their translation into keyword arguments of the commands' functions."""

import argparse
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ner_common.commands import positive
from ner_eval.inference.client import BASE_URL, Connection
from ner_eval.inference.request import MODES


def base_url(text: str) -> str:
    """An argparse type: a server's address; ``/v1`` is added if it has no path."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address like {BASE_URL}")
    return text.rstrip("/") if parts.path.strip("/") else text.rstrip("/") + "/v1"


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="NAME", help="model name, as the server lists it")
    parser.add_argument(
        "--base-url",
        action="append",
        type=base_url,
        metavar="URL",
        help=f"address of a server with that model; repeat the option for several (default: {BASE_URL})",
    )
    parser.add_argument("--api-key", metavar="KEY", help="sent as bearer token (default: $OPENAI_API_KEY)")
    parser.add_argument(
        "--concurrency", type=positive(int), default=64, metavar="N", help="concurrent requests (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=positive(float),
        default=300,
        metavar="S",
        help="seconds before one attempt times out (default: %(default)s)",
    )
    parser.add_argument(
        "--patience",
        type=positive(float),
        default=300,
        metavar="S",
        help="seconds to keep retrying while no server answers, once the run has begun (default: %(default)s)",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=15,
        metavar="S",
        help="seconds to wait at the start for a server that is not up yet (default: %(default)s)",
    )
    parser.add_argument(
        "--openai-only", action="store_true", help="send only OpenAI's own parameters (no repetition_penalty)"
    )


def connection(args: argparse.Namespace) -> Connection:
    """The servers, from the arguments of `add_server_arguments`."""
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
        "--prompt",
        type=Path,
        metavar="FILE",
        help="prompt spec (default: the model folder's ner_prompt.json, else the corpus's)",
    )
    parser.add_argument(
        "--adapter", type=Path, metavar="DIR", help="the adapter's folder, which holds its ner_prompt.json"
    )
    parser.add_argument(
        "--allow-other-prompt",
        action="store_true",
        help="ask with a prompt whose labels or answer form differ from those the model was trained with",
    )
    parser.add_argument(
        "--structured",
        choices=MODES,
        default="off",
        help="have the server enforce the answer form (json), also that entities are copied (grammar); default: off",
    )


def prompting(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `add_prompt_arguments` as keyword arguments."""
    return {
        "prompt": args.prompt,
        "adapter": args.adapter,
        "allow_other_prompt": args.allow_other_prompt,
        "structured": args.structured,
    }
