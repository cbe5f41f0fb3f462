"""``ner-eval``: one command a stage; each is a module with ``add_arguments(parser)`` and ``run(args) -> int | None``."""

import argparse
from importlib import import_module

from ner_data.errors import run_cli

# command: (module, one line of help)
COMMANDS = {
    "predict": ("ner_eval.predict", "ask the server for every record of a gold file"),
    "score": ("ner_eval.score", "score stored answers against gold, print the label table"),
}


def main(argv: list[str] | None = None) -> int | None:
    parser = argparse.ArgumentParser(prog="ner-eval", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        import_module(module).add_arguments(commands.add_parser(name, help=text, description=text))
    args = parser.parse_args(argv)
    code: int | None = import_module(COMMANDS[args.command][0]).run(args)
    return code


entry_point = run_cli(main, "ner-eval")
