"""The formats of raw files, as a table or one by one: ``ner-data formats [NAME]``."""

import argparse
from importlib import import_module

from ner_data.formats import can_write, format_class, format_names, option_fields


def table() -> str:
    """All formats as a Markdown table."""
    rows = ["| `format:` | what it is | files | out | nested mentions |", "| --- | --- | --- | --- | --- |"]
    for name in format_names():
        format = format_class(name)
        out, nested = ("yes" if value else "no" for value in (can_write(format), format.nested))
        rows.append(f"| `{name}` | {format.title} | `{format.files}` | {out} | {nested} |")
    return "\n".join(rows)


def details(name: str) -> str:
    """What one format is: a sample, its options and its policies."""
    format = format_class(name)
    text = str(import_module(format.__module__).__doc__).strip()
    options = [
        f"  {option.name}: {getattr(option.type, '__name__', option.type)} = {option.default!r}"
        for option in option_fields(name)
    ]
    return "\n".join([text, "", "Options:", *(options or ["  none"]), *(f"- {policy}" for policy in format.policies)])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", choices=format_names(), help="show a sample, the options and the policies")


def run(args: argparse.Namespace) -> None:
    print(details(args.name) if args.name else table())
