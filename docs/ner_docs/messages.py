"""Every message with which our programs refuse something, found in their code.

What an error is raised with is a template: ``{path}: no such file; {remedy}``. Where a variable in it was given one of
a few texts in the same function, or is a constant of ours, each of them makes a message of its own. What hand-written
explanations there are is in docs/messages.yaml.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path

import yaml

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
NAMING = re.compile(r"problem|complain|refus|lack|differ|why|misplaced|unfit|check|loss")
# Calls that show a value as it is.
PLAIN = {"rooted", "escaped", "one_line", "printable", "str", "repr", "sorted", "list", "shown", "Path", "map", "min"}
MOST = 12  # variants of one message
WORDY = re.compile(r"[a-z]{2,}\W+(?:\w+\W+)*?[a-z]{2,}")


@dataclass(frozen=True, slots=True)
class Message:
    """A message: who says it, in which module, and its text with ``{placeholders}``."""

    speaker: str
    module: str
    text: str

    def says(self, line: str) -> bool:
        """Whether a line that a program printed has this message in it."""
        parts = re.split(r"\{[\w …]*\}", self.text)
        return bool(re.search(".*".join(map(re.escape, parts)), line))


@dataclass
class Scope:
    """What the variables of a function, or the constants of a module, are given; ``ends``: where it returns or raises."""

    names: dict[str, list[ast.expr]] = field(default_factory=dict)
    outer: "Scope | None" = None
    ends: list[int] = field(default_factory=list)

    def values(self, name: str, line: int) -> list[ast.expr]:
        """What a variable may be in a line: what it was given since the last end, or else the last time."""
        if name not in self.names:
            return self.outer.values(name, line) if self.outer else []
        if not self.outer:
            return self.names[name]
        earlier = [value for value in self.names[name] if value.lineno < line]
        since = max((end for end in self.ends if end < line), default=0)
        return [value for value in earlier if value.lineno > since] or earlier[-1:]


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
        if not text.startswith("{1}") and WORDY.search(text):
            yield text.strip()


def _of_module(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    constants = Scope(_constants(path))
    for function, scope in _functions(tree, constants):
        for node in _own(function):
            for expression in _said(node, function):
                yield from (
                    text for text in _texts(expression, scope) if WORDY.search(text) and not text.endswith(": ")
                )


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
            scope = Scope(
                {}, outer, [end.end_lineno or 0 for end in _own(node) if isinstance(end, ast.Raise | ast.Return)]
            )
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
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        yield from node.exc.args[-1:]  # the first of several is the reason that is counted
    elif isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        owner, _, method = called.rpartition(".")
        if called in ("UserError", "UserErrors", "parser.error"):
            yield from node.args[:1]
        elif called == "Bad":
            yield from node.args[-1:]
        elif method == "append" and owner.split(".")[-1] in LISTS:
            yield from node.args
    elif isinstance(node, ast.Yield | ast.Return) and node.value and NAMING.search(name):
        yield node.value


def _texts(node: ast.expr, scope: Scope, depth: int = 4) -> list[str]:
    """What an expression may read as, with placeholders."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return _joined([_part(value, scope, depth) for value in node.values])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined(_sides(node.left, node.right, scope, depth))
    if isinstance(node, ast.IfExp):
        return [text for texts in _sides(node.body, node.orelse, scope, depth) for text in texts]
    if isinstance(node, ast.Name) and depth:
        return [text for value in scope.values(node.id, node.lineno) for text in _texts(value, scope, depth - 1)]
    if isinstance(node, ast.GeneratorExp | ast.ListComp):
        return _texts(node.elt, scope, depth)
    if isinstance(node, ast.List | ast.Tuple):
        return [text for one in node.elts for text in _texts(one, scope, depth)]
    return []


def _sides(one: ast.expr, other: ast.expr, scope: Scope, depth: int) -> list[list[str]]:
    """The texts of two expressions, of which at least one is known to be a text."""
    texts = [_texts(side, scope, depth) for side in (one, other)]
    return (
        [found or [f"{{{_name(side)}}}"] for found, side in zip(texts, (one, other), strict=True)]
        if any(texts)
        else []
    )


def _part(value: ast.expr, scope: Scope, depth: int) -> list[str]:
    if isinstance(value, ast.FormattedValue):
        inner = value.value
        texts = _texts(inner, scope, depth - 1) if isinstance(inner, ast.Name | ast.IfExp) and depth else []
        complete = isinstance(inner, ast.IfExp) or (
            isinstance(inner, ast.Name) and scope.values(inner.id, inner.lineno)
        )
        return texts if texts and complete else [f"{{{_name(inner)}}}"]
    return _texts(value, scope, depth)


def _joined(parts: list[list[str]]) -> list[str]:
    if not parts:
        return []
    if len(list(product(*parts))) > MOST:
        parts = [part if len(part) == 1 else ["{…}"] for part in parts]
    return ["".join(part) for part in product(*parts)]


def _name(node: ast.expr) -> str:
    """A short name for a value in a message."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _name(node.right)
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func).split(".")[-1]
        if called == "len":
            return "number"
        if (called in PLAIN or called == "join") and node.args:
            return _name(node.args[-1 if called == "map" else 0])
    return "…"
