"""``ner-model stop``: end a server that `ner-model serve` started."""

import argparse

from ner_models.serving import process
from ner_models.serving.state import Server


def stop(port: int = process.PORT) -> Server | None:
    """End the server that `ner-model serve` started on a port, or what is left of it; None if there is none.

    Raises:
        UserError: no such port, a damaged state file, or a process that cannot be ended.
    """
    process.check_port(port)
    found = process.load_server(port)
    if found is not None:
        process.stop(found)
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=process.PORT, help="The server's port (default: %(default)s).")


def run(args: argparse.Namespace) -> None:
    found = stop(args.port)
    if found is None:
        print(f"no server started by ner-model runs on port {args.port}")
        return
    print(f"stopped {found.names} on port {args.port}")
