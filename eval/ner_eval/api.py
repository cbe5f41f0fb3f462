"""A service for people and programs that know no prompt: ``ner-eval api --model nano-lora-demo``.

It sends the texts to engines (vLLM, or any server that `ner-eval extract` can ask) and answers with entities::

    curl http://127.0.0.1:8080/extract --json '{"text": "嘉力中学收下了云帆证券的捐赠"}'
    {"model": "nano-lora-demo", "results": [{"id": "0", "entities":
        [{"start": 0, "end": 4, "label": "organization", "text": "嘉力中学"}, ...], "problems": []}]}

``/`` is a page to try it, ``/docs`` describes everything. SIGTERM ends it after the requests in flight.
"""

import argparse
from collections.abc import Sequence
from math import inf
from pathlib import Path

from ner_common.commands import positive
from ner_eval.arguments import add_connection_arguments, connection, seconds
from ner_eval.inference.client import Connection, run_async
from ner_eval.inference.request import MODES
from ner_eval.service.access import VARIABLE, read_keys
from ner_eval.service.service import Limits
from ner_eval.service.serving import check_host, listening, serve

HOST, PORT = "127.0.0.1", 8080
# Shorter than for a run: a client waits, and another engine may answer in time.
PER_REQUEST = {"concurrency": 16, "timeout": 30.0, "patience": 15.0}


def api(
    models: Sequence[str],
    *,
    host: str = HOST,
    port: int = PORT,
    keys: Path | None = None,
    open_to_all: bool = False,
    limits: Limits | None = None,
    structured: str = "off",
    log_texts: bool = False,
    connection: Connection | None = None,
) -> None:
    """Serve models until SIGTERM or SIGINT.

    Args:
        models: names that the engines serve, the default first, each ``NAME`` or ``NAME=PATH`` (the model's folder, or
            its prompt spec).
        host, port: where to listen.
        keys: a file with the keys of clients, one per line; by default the variable ``NER_API_KEYS``.
        open_to_all: listen without keys on an address that other machines can reach.
        limits: what clients may demand.
        structured: off, json or grammar, see `ner_eval.predict`.
        log_texts: write texts and entities into the log.
        connection: the engines; ``concurrency`` is that of the texts of one request.

    Raises:
        UserError: a key or address cannot be used, no engine answers, or one lacks a model or its prompt.
    """
    accepted = read_keys(keys)
    check_host(host, accepted, open_to_all)
    engines = connection or Connection(**PER_REQUEST)  # type: ignore[arg-type]
    with listening(host, port) as listener:
        run_async(
            serve(
                models, engines, listener=listener, keys=accepted, limits=limits or Limits(), structured=structured,
                log_texts=log_texts,
            )
        )  # fmt: skip


def texts_per_second(text: str) -> float:
    """An argparse type: a number from 0."""
    value = float(text)
    if not 0 <= value < inf:
        raise argparse.ArgumentTypeError(f"must be a number of texts per second from 0, not {value}")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    usual = Limits()
    add = parser.add_argument
    add(
        "--model", action="append", required=True, metavar="NAME[=PATH]",
        help="a model that the engines serve, and its folder or prompt spec on this machine (default: the folder that "
        "the engines name); repeat the option for several, the default first",
    )  # fmt: skip
    add("--host", default=HOST, help="the address of this machine to listen on (default: %(default)s)")
    add("--port", type=int, default=PORT, help="(default: %(default)s)")
    add(
        "--api-keys", type=Path, metavar="FILE",
        help=f"the keys of clients, one per line (default: the variable {VARIABLE}, separated by commas)",
    )  # fmt: skip
    add("--open", action="store_true", help="accept requests without a key though other machines can reach --host")
    for name, value in (("--most-bytes", usual.body), ("--most-texts", usual.texts)):
        add(name, type=positive(int), default=value, metavar="N", help="of a request (default: %(default)s)")
    add(
        "--most-requests", type=positive(int), default=usual.requests, metavar="N",
        help="at the same time, of all clients (default: %(default)s)",
    )  # fmt: skip
    add(
        "--deadline", type=seconds, default=usual.deadline, metavar="S",
        help="end a request that has no answer after S seconds; clients may ask for less (default: %(default)s)",
    )  # fmt: skip
    add(
        "--rate", type=texts_per_second, default=usual.rate, metavar="N",
        help="texts per second for each key, or without keys for each address; 0: no limit (default: %(default)s)",
    )  # fmt: skip
    add(
        "--burst", type=positive(float), default=usual.burst, metavar="N",
        help="texts that a client may send at once before --rate counts (default: %(default)s)",
    )  # fmt: skip
    add(
        "--log-texts",
        action="store_true",
        help="write texts and entities into the log",
    )
    add("--structured", choices=MODES, default="off", help="see `ner-eval extract` (default: %(default)s)")
    add_connection_arguments(parser)
    parser.set_defaults(**PER_REQUEST)


def run(args: argparse.Namespace) -> int:
    limits = Limits(args.most_bytes, args.most_texts, args.most_requests, args.deadline, args.rate, args.burst)
    api(
        args.model, host=args.host, port=args.port, keys=args.api_keys, open_to_all=args.open, limits=limits,
        structured=args.structured, log_texts=args.log_texts, connection=connection(args),
    )  # fmt: skip
    return 0
