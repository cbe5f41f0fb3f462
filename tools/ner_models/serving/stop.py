"""``ner-model stop``: end a server that `ner-model serve` started."""

import argparse

from ner_models.serving import process


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=process.PORT, help="the server's port (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    found = process.load_server(args.port)
    if found is None:
        print(f"no server started by ner-model runs on port {args.port}")
        return
    process.stop(found)
    print(f"stopped {', '.join(found.models)} on port {args.port}")
