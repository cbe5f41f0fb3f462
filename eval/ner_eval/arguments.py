"""Arguments shared by several commands, and their translation into keyword arguments of the commands' functions."""

import argparse
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ner_common.commands import positive
from ner_common.errors import UserError
from ner_eval.confidence.trust import Wanted
from ner_eval.inference.checks import check_address, check_seconds
from ner_eval.inference.client import BASE_URL, Connection
from ner_eval.inference.request import MODES


def base_url(text: str) -> str:
    """An argparse type: a server's address; ``/v1`` is added if it has no path."""
    try:
        url = check_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return url if urlsplit(url).path else f"{url}/v1"


def seconds(text: str, *, zero: bool = False) -> float:
    """An argparse type: a number of seconds above 0 (or 0, with ``zero``)."""
    value = float(text)
    try:
        check_seconds("the value", value, zero=zero)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return value


def seconds_or_none(text: str) -> float:
    """An argparse type: a number of seconds from 0."""
    return seconds(text, zero=True)


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="NAME", help="name of the model, as the server lists it")
    add_connection_arguments(parser)


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base-url",
        action="append",
        type=base_url,
        metavar="URL",
        help=f"address of a server with that model; repeat the option for several (default: {BASE_URL})",
    )
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help="key of the server, sent as the bearer token of every request (default: the variable OPENAI_API_KEY)",
    )
    parser.add_argument(
        "--concurrency",
        type=positive(int),
        default=64,
        metavar="N",
        help="send up to N requests at the same time (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=300,
        metavar="S",
        help="try a request again if its answer has not arrived after S seconds (default: %(default)s)",
    )
    parser.add_argument(
        "--patience",
        type=seconds,
        default=300,
        metavar="S",
        help="keep trying for S seconds when the server stops answering after the start, then end; answers received "
        "so far are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--wait",
        type=seconds_or_none,
        default=15,
        metavar="S",
        help="wait up to S seconds at the start for a server that is not ready yet (default: %(default)s)",
    )
    parser.add_argument(
        "--openai-only",
        action="store_true",
        help="send only OpenAI's own parameters, for servers that refuse others such as repetition_penalty",
    )


def connection(args: argparse.Namespace) -> Connection:
    """The servers, from the arguments of `add_connection_arguments`.

    Raises:
        UserError: a value is out of its range.
    """
    urls, key = tuple(args.base_url or [BASE_URL]), args.api_key or os.environ.get("OPENAI_API_KEY")
    try:
        return Connection(urls, key, args.timeout, args.patience, args.wait, args.concurrency, args.openai_only)
    except ValueError as error:
        raise UserError(str(error)) from None


def add_prompt_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prompt",
        type=Path,
        metavar="FILE",
        help="the prompt spec to ask with (default: ner_prompt.json in the model's folder, else the corpus's)",
    )
    parser.add_argument(
        "--adapter",
        type=Path,
        metavar="DIR",
        help="folder of the model or adapter on this machine, with its ner_prompt.json "
        "(default: the folder that the server names)",
    )
    parser.add_argument(
        "--allow-other-prompt",
        action="store_true",
        help="ask with a prompt whose labels or answer form differ from those that the model was trained with",
    )
    parser.add_argument(
        "--structured",
        choices=MODES,
        default="off",
        help="have the server force the answers into their form: json forces the form and the labels, grammar also "
        "that every entity is copied from the text (default: %(default)s)",
    )


def add_confidence_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--confidence",
        action="store_true",
        help="also ask for the log-probabilities of the answers' tokens, from which each entity gets a score",
    )


def add_threshold_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threshold", type=float, metavar="S", help="keep only entities with a score of at least S, from 0 to 1"
    )
    parser.add_argument(
        "--precision",
        type=float,
        metavar="P",
        help="keep entities from the score on from which the share P was right on the held-out records "
        "(needs `ner-eval calibrate`)",
    )
    parser.add_argument("--per-label", action="store_true", help="with --precision: choose a threshold for each label")


def wanted_scores(args: argparse.Namespace) -> Wanted:
    """What is kept, from the arguments of `add_threshold_arguments`.

    Raises:
        UserError: a value is out of its range, or two of them contradict each other.
    """
    try:
        return Wanted(args.threshold, args.precision, args.per_label, getattr(args, "samples", 0))
    except ValueError as error:
        raise UserError(f"--{error}".replace("per_label", "per-label")) from None


def prompting(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `add_prompt_arguments` as keyword arguments."""
    return {
        "prompt": args.prompt,
        "adapter": args.adapter,
        "allow_other_prompt": args.allow_other_prompt,
        "structured": args.structured,
    }
