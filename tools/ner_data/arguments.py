"""Command-line arguments that several commands share."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from ner_common.commands import positive
from ner_common.errors import UserError, UserErrors
from ner_data.formats import can_write, format_class, format_names, option_fields, option_problems
from ner_data.nesting import POLICIES
from ner_data.source import ENCODINGS


def add_reading_arguments(parser: argparse.ArgumentParser, described: bool) -> None:
    """The options about how raw files are read, which a corpus description can hold too; if it does, that counts."""
    encoding, nested, split = ["as the corpus describes it"] * 3 if described else ["utf-8", "keep", "not at all"]
    parser.add_argument("--encoding", choices=ENCODINGS, help=f"encoding of the raw files (default: {encoding})")
    parser.add_argument(
        "--nested",
        choices=POLICIES,
        help=f"which of nested or crossing mentions are kept, for forms that hold flat ones (default: {nested})",
    )
    parser.add_argument(
        "--split-sentences",
        type=positive(int),
        metavar="N",
        help=f"cut texts of more than N characters at sentence ends, never inside a mention (default: {split})",
    )


def reading(args: argparse.Namespace) -> dict[str, Any]:
    """Those of the options that were given."""
    return {
        key: value for key in ("encoding", "nested", "split_sentences") if (value := getattr(args, key)) is not None
    }


def add_detection_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=format_names(), help="their format (default: the one that fits)")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the format named with --format",
    )


def detection(args: argparse.Namespace) -> dict[str, Any]:
    """The format and its options, if they were given."""
    if args.option and not args.format:
        raise UserError("--option: name the format that it belongs to with --format")
    return {"format": args.format, "options": parse_options(args.format, args.option) if args.format else None}


def add_format_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that writes records in a format."""
    writers = [name for name in format_names() if can_write(format_class(name))]
    parser.add_argument("--format", required=True, choices=writers, help="see `ner-data formats`")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the format (see `ner-data formats NAME`); may be given several times",
    )
    parser.add_argument(
        "--nested",
        choices=POLICIES,
        default="keep",
        help="which of nested or crossing mentions are written, for formats of flat ones (default: %(default)s)",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out records that the format cannot hold and count them by reason, instead of stopping",
    )


def parse_options(format: str, given: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` of the command line as values of the types that a format's options have.

    Raises:
        UserError: there is no ``=``, the format has no such option, or it is of another type.
    """
    options: dict[str, Any] = {}
    types = {option.name: option.type for option in option_fields(format)}
    for text in given:
        key, separator, value = text.partition("=")
        kind = types.get(key)
        if not separator:
            raise UserError(f"--option {text}: write KEY=VALUE")
        try:
            options[key] = msgspec.convert(value, kind, strict=False) if kind else value
        except msgspec.ValidationError:
            options[key] = value
    if problems := list(option_problems(format, options)):
        raise UserErrors(f"--option: {problem.removeprefix('options: ')}" for problem in problems)
    return options
