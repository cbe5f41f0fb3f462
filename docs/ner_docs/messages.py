"""Every message with which our programs refuse something, found in their code.

What an error is raised with is a template: ``{path}: no such file; {remedy}``. Where a variable in it was given one of
a few texts in the same function, or is a constant of ours, each of them makes a message of its own. What hand-written
explanations there are is in docs/messages.yaml.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from ner_docs.templates import Scope, texts

ROOT = Path(__file__).resolve().parents[2]
# Who says it -> where its modules are.
SPEAKERS = {
    "ner-data": "tools/ner_data",
    "ner-model": "tools/ner_models",
    "ner-eval": "eval/ner_eval",
    "llamafactory-cli": "tools/llamafactory_ner",
    "*": "tools/ner_common",
}
TITLES = {
    "en": {"*": "Any program", "make": "make", "llamafactory-cli": "Training: what our plugin says before it starts"},
    "zh": {"*": "所有程序", "make": "make", "llamafactory-cli": "训练：插件在开始前的检查"},
}
# Lists of problems that are raised together, and functions that name them.
LISTS = {"problems", "complaints"}
NAMING = re.compile(
    r"problem|complain|refus|lack|differ|why|misplaced|unfit|check|loss|wrong|undecodable|^fault$|^too_"
)
# What the service answers instead of entities: the call that makes it -> the position of the message.
ANSWERED = {"Failed": 1, "_fail": 2, "Problem": 0}
PLACEHOLDER = re.compile(r"\{[\w …]*\}")


@dataclass(frozen=True, slots=True)
class Message:
    """A message: who says it, in which module, and its text with ``{placeholders}``."""

    speaker: str
    module: str
    text: str

    def says(self, line: str) -> bool:
        """Whether a line that a program printed has this message in it."""
        return bool(_pattern(self.text).search(line))


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, PLACEHOLDER.split(text))))


def words(text: str) -> list[str]:
    """The words of a message that are always there."""
    return re.findall(r"[A-Za-z]{2,}", PLACEHOLDER.sub(" ", text))


@cache
def collect() -> tuple[Message, ...]:
    """All messages, by speaker and module, each one once."""
    found: dict[Message, None] = {}
    for speaker, folder in SPEAKERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts[1:]).removesuffix(".__init__")
            for text in _of_module(path):
                found.setdefault(Message(speaker, module, text))
    for text in _of_make((ROOT / "Makefile").read_text("utf-8")):
        found.setdefault(Message("make", "Makefile", text))
    return tuple(found)


def page(language: str = "en") -> str:
    """The list of all messages, with the explanations that there are."""
    return "\n".join(_lines(language))


def _lines(language: str) -> Iterator[str]:
    explanations = explained()
    for speaker in ("make", *SPEAKERS):
        yield f"\n### {TITLES[language].get(speaker, speaker)}"
        before = ""
        for message in collect():
            if message.speaker == speaker:
                if message.module != before:
                    yield f"\n`{message.module}`\n"
                    before = message.module
                yield f"- `{message.text}`" if "`" not in message.text else f"- `` {message.text} ``"
                yield from (f"    {one[language]}" for one in explanations if one["says"] in message.text)


@cache
def explained() -> list[dict[str, str]]:
    """The explanations: what the message says, and what to do in each language."""
    found: list[dict[str, str]] = yaml.safe_load((ROOT / "docs/messages.yaml").read_text("utf-8"))
    return found


def _of_make(makefile: str) -> Iterator[str]:
    """What make refuses: the second word of ``$(call refuse,…)`` and of ``$(error …)``."""
    joined = re.sub(r"\s*\\\n\s*", " ", makefile)
    for start in re.finditer(r"\$\((?:call refuse,|error )", joined):
        depth, at = 1, start.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(joined[at], 0)
            at += 1
        text = joined[start.end() : at - 1].replace("$(comma)", ",")
        while re.search(r"\$\([^()]*\)", text):
            text = re.sub(r"\$\((\w+)\)", lambda name: f"{{{name[1]}}}", text)
            text = re.sub(r"\$\([^()]*\)", "{…}", text)
        if not text.startswith("{1}") and words(text):
            yield text.strip()


def _of_module(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    constants = Scope(_constants(path))
    for function, scope in _functions(tree, constants):
        for node in _own(function):
            for expression in _said(node, function):
                whole = (text for text in texts(expression, scope) if not text.endswith(": "))
                yield from (text for text in whole if " " in text and len(words(text)) > 1)


@cache
def _constants(path: Path) -> dict[str, list[ast.expr]]:
    """The constants of a module that are texts, and those that it imports from our modules."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = [node.value]
        elif isinstance(node, ast.ImportFrom) and node.module:
            for folder in ("tools", "eval"):
                other = ROOT / folder / f"{node.module.replace('.', '/')}.py"
                if other.is_file():
                    names = [alias.name for alias in node.names if alias.name.isupper()]
                    found |= {name: _constants(other)[name] for name in names if name in _constants(other)}
    return found


def _functions(tree: ast.AST, outer: Scope) -> Iterator[tuple[ast.AST, Scope]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            ends = [end.end_lineno or 0 for end in _own(node) if isinstance(end, ast.Raise | ast.Return)]
            scope = Scope({}, outer, ends)
            for inner in _own(node):
                if isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Name):
                    scope.names.setdefault(inner.targets[0].id, []).append(inner.value)
                elif isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Tuple):
                    _unpack(inner, scope)
            yield node, scope
            yield from _functions(node, scope)
        else:
            yield from _functions(node, outer)


def _unpack(node: ast.Assign, scope: Scope) -> None:
    (target,) = node.targets
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        for name, value in zip(target.elts, node.value.elts, strict=False):
            if isinstance(name, ast.Name):
                scope.names.setdefault(name.id, []).append(value)


def _own(function: ast.AST) -> Iterator[ast.AST]:
    """What is in a function, without the functions in it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from _own(node)


def _said(node: ast.AST, function: ast.AST) -> Iterator[ast.expr]:
    """The texts that a node says to the user: what is raised, listed as a problem, or named by a function for it."""
    name = getattr(function, "name", "")
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) not in ANSWERED:
        yield from node.exc.args[-1:]  # the first of several is the reason that is counted
    elif isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        owner, _, method = called.rpartition(".")
        if called in ("UserError", "UserErrors", "parser.error"):
            yield from node.args[:1]
        elif called in ANSWERED:
            yield from node.args[ANSWERED[called] :][:1]
        elif called in ("Bad", "_Document"):
            yield from node.args[-1:]
        elif method == "append" and owner.split(".")[-1] in LISTS:
            yield from node.args
    elif isinstance(node, ast.Yield | ast.Return) and node.value and NAMING.search(name):
        yield node.value
    elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant):
        yield node.elts[1]  # the reason that is counted, and what is wrong with a record
