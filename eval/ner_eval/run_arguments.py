"""Options of the commands that read runs."""

import argparse
from pathlib import Path
from typing import Any


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every command that reads runs."""
    parser.add_argument(
        "--gold",
        type=Path,
        metavar="FILE",
        help="read the gold records from FILE, if their file has moved since the run",
    )
    parser.add_argument(
        "--partial", action="store_true", help="score the answered records even if others have no answer yet"
    )
    parser.add_argument(
        "--allow-other-labels",
        action="store_true",
        help="score even if gold has labels that the model was not asked for; they count as missed",
    )


def loading(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `add_run_arguments` as keyword arguments of `load_run`."""
    return {"gold": args.gold, "partial": args.partial, "allow_other_labels": args.allow_other_labels}
