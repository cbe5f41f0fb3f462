"""Every message with which our programs refuse something, warn of it or note it, found in their code.

What an error is raised with, or a notice is told as, is a template: ``{path}: no such file; {remedy}``. Where a
variable in it was given one of a few texts in the same function, or is a constant of ours, each of them makes a
message of its own. What hand-written explanations there are is in docs/messages.yaml.
"""

import ast
import json
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
MAKE, CONTAINER, PAGE = "make", "container", "page"
ENTRY, STRINGS = "deploy/serve-entry", "eval/ner_eval/service/page/strings.json"
# What the service's page says when something did not work: names of its strings.
ON_THE_PAGE = ("nothing", "unreachable", "need_key", "bad_key", "no_scores", "not_copied")
TITLES = {
    "en": {
        "*": "Any program",
        "llamafactory-cli": "Training: what our plugin says before it starts",
        CONTAINER: "The container `serve`",
        PAGE: "The page of the service",
    },
    "zh": {
        "*": "所有程序",
        "llamafactory-cli": "训练：插件在开始前的检查",
        CONTAINER: "容器 `serve`",
        PAGE: "服务的网页",
    },
}
# Lists of problems that are raised together, or of notes that are told together, and functions that name them.
LISTS = {"problems", "complaints", "warnings", "conflicts"}
NOTES = {"notes", "prepared.notes"}  # others are what a report says
NAMING = re.compile(
    r"problem|complain|refus|lack|differ|doubt|why|misplaced|unfit|check|loss|wrong|undecodable|^fault$|^too_"
    r"|^(store_\w+|limits|_rare|_balance)$"
)
# Functions that tell the user a line, and how a line begins that is a notice wherever it is printed.
TELLING = {"tell", "notice", "notice_once", "note", "_note", "warn", "say"}
OPENINGS = ("note: ", "warning: ")
# What the service answers instead of entities: the call that makes it -> the position of the message.
ANSWERED = {"Failed": 1, "_fail": 2, "Problem": 0}
PLACEHOLDER = re.compile(r"\{[\w …]*\}")
WRAPPED = re.compile(r"[\w-]+: \{\w+\}")  # a line of another message, with the name of a program before it


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
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for text in (*_of_make(makefile), *_echoed(makefile)):
        found.setdefault(Message(MAKE, "Makefile", text))
    for text in _echoed((ROOT / ENTRY).read_text("utf-8")):
        found.setdefault(Message(CONTAINER, ENTRY, text))
    strings = json.loads((ROOT / STRINGS).read_text("utf-8"))
    for name in ON_THE_PAGE:
        for language in ("en", "zh"):
            found.setdefault(Message(PAGE, STRINGS.removeprefix("eval/"), strings[language][name]))
    return tuple(found)


def page(language: str = "en") -> str:
    """The list of all messages, with the explanations that there are."""
    return "\n".join(_lines(language))


def _lines(language: str) -> Iterator[str]:
    explanations = explained()
    for speaker in (MAKE, *SPEAKERS, CONTAINER, PAGE):
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


def _echoed(script: str) -> Iterator[str]:
    """What a recipe of make or a shell script prints to standard error."""
    plain = re.sub(r"\$+\([^()]*\)", "{…}", script)
    for text in re.findall(r'echo "([^"]*)" >&2', plain):
        yield re.sub(r"\$+(\w+)", r"{\1}", text)


def _of_module(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    constants = Scope(_constants(path))
    for function, scope in _functions(tree, constants):
        for node in _own(function):
            for expression in _said(node, function):
                whole = (
                    text for text in texts(expression, scope) if not (text.endswith(": ") or WRAPPED.fullmatch(text))
                )
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
                    theirs = _constants(other)
                    names = {alias.asname or alias.name: alias.name for alias in node.names if alias.name.isupper()}
                    found |= {ours: theirs[name] for ours, name in names.items() if name in theirs}
    return found


def _functions(tree: ast.AST, outer: Scope) -> Iterator[tuple[ast.AST, Scope]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            scope = Scope({}, outer, list(_ends(node)))
            for inner in _own(node):
                if isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Name):
                    scope.names.setdefault(inner.targets[0].id, []).append(inner.value)
                elif isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Tuple):
                    _unpack(inner, scope)
            yield node, scope
            yield from _functions(node, scope)
        else:
            yield from _functions(node, outer)


def _ends(function: ast.AST) -> Iterator[tuple[int, int]]:
    """The first and the last line of each block of a function that ends with a return or a raise."""
    for node in (function, *_own(function)):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[-1], ast.Raise | ast.Return):
                yield block[0].lineno, block[-1].end_lineno or 0


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
    """The texts that a node says to the user.

    They are raised, told, listed as a problem, or named by a function for it.
    """
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
        elif method == "append" and (owner.split(".")[-1] in LISTS or owner in NOTES):
            yield from node.args
        elif method in TELLING or called in TELLING or (called == "print" and _is_notice(node)):
            yield from node.args[:1]
    elif isinstance(node, ast.AugAssign):
        yield from [node.value] if ast.unparse(node.target) in NOTES else []
    elif isinstance(node, ast.Yield | ast.Return) and node.value and NAMING.search(name):
        yield node.value
    elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant):
        yield node.elts[1]  # the reason that is counted, and what is wrong with a record


def _is_notice(call: ast.Call) -> bool:
    """Whether something is printed to standard error, or begins as a notice."""
    if any(keyword.arg == "file" and ast.unparse(keyword.value) == "sys.stderr" for keyword in call.keywords):
        return True
    return bool(call.args) and any(text.startswith(OPENINGS) for text in texts(call.args[0], Scope()))
