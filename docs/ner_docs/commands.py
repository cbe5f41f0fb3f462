"""The reference of a program, from its argument parsers: one section per command."""

import argparse
from collections.abc import Iterator
from importlib import import_module

from ner_docs.text import cell, table

PROGRAMS = {"ner-data": "ner_data", "ner-model": "ner_models", "ner-eval": "ner_eval"}
WORDS = {
    "en": {"argument": "argument", "option": "option", "means": "what it does", "needed": "required"},
    "zh": {"argument": "参数", "option": "选项", "means": "作用", "needed": "必填"},
}


def parser_of(program: str, command: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    module, text = import_module(f"{PROGRAMS[program]}.cli").COMMANDS[command]
    parser = argparse.ArgumentParser(prog=f"{program} {command}", description=text)
    import_module(module).add_arguments(parser)
    return parser


def page(program: str, language: str = "en") -> str:
    """Every command of a program: what it does, and its arguments and options."""
    return "\n".join(_lines(program, WORDS[language]))


def _lines(program: str, words: dict[str, str]) -> Iterator[str]:
    commands = import_module(f"{PROGRAMS[program]}.cli").COMMANDS
    for command, (_, text) in commands.items():
        parser = parser_of(program, command)
        yield f"## {command}\n\n{text[0].upper()}{text[1:].rstrip('.')}.\n"
        given = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
        for kind, wanted in (("argument", False), ("option", True)):
            rows = [_row(parser, action, words) for action in given if bool(action.option_strings) is wanted]
            if rows:
                yield from table([words[kind], words["means"]], rows)
                yield ""


def _row(parser: argparse.ArgumentParser, action: argparse.Action, words: dict[str, str]) -> list[str]:
    formatter = parser._get_formatter()
    named = f"{', '.join(action.option_strings)} {_value(action)}".strip()
    needed = f" ({words['needed']})" if action.required and action.option_strings else ""
    return [f"`{cell(named)}`", cell(formatter._expand_help(action) if action.help else "") + needed]


def _value(action: argparse.Action) -> str:
    """What stands for the value of an argument: its metavar, or its choices."""
    if action.nargs == 0:
        return ""
    names = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    name = " ".join(names) if isinstance(names, tuple) else names
    many = {"*": f"[{name} …]", "+": f"{name} …", "?": f"[{name}]"}
    return many.get(str(action.nargs), name)
