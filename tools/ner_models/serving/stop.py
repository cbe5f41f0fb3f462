"""``ner-model stop``: end a server that `ner-model serve` started."""

import argparse

from ner_models.serving import process


def stop(port: int = process.PORT) -> process.Server | None:
    """End the server that `ner-model serve` started on a port; returns it, or None if there is none."""
    found = process.load_server(port)
    if found is not None:
        process.stop(found)
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=process.PORT, help="the server's port (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    found = stop(args.port)
    if found is None:
        print(f"no server started by ner-model runs on port {args.port}")
        return
    print(f"stopped {', '.join(found.models)} on port {args.port}")
