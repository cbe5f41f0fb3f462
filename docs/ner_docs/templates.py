"""What an expression may read as: its text with ``{placeholders}`` for what is not known before the program runs.

A variable is followed to the texts that it was given in the same function, or to a constant of ours.
"""

import ast
from dataclasses import dataclass, field
from itertools import product

# Calls that show a value as it is.
PLAIN = {"rooted", "escaped", "one_line", "printable", "str", "repr", "sorted", "list", "shown", "Path", "map", "min"}
MOST = 12  # variants of one message


@dataclass
class Scope:
    """What the variables of a function, or the constants of a module, are given.

    ``ends`` are the first and the last line of each block that ends with a return or a raise.
    """

    names: dict[str, list[ast.expr]] = field(default_factory=dict)
    outer: "Scope | None" = None
    ends: list[tuple[int, int]] = field(default_factory=list)

    def values(self, name: str, line: int) -> list[ast.expr]:
        """What a variable may be in a line: what it was given before, but not in a block that has ended since."""
        if name not in self.names:
            return self.outer.values(name, line) if self.outer else []
        if not self.outer:
            return self.names[name]
        earlier = [value for value in self.names[name] if value.lineno < line]
        over = [(first, last) for first, last in self.ends if last < line]
        reaching = [value for value in earlier if not any(first <= value.lineno <= last for first, last in over)]
        return reaching or earlier[-1:]


def texts(node: ast.expr, scope: Scope, depth: int = 4) -> list[str]:
    """What an expression may read as, with placeholders."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return _joined([_part(value, scope, depth) for value in node.values])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined(_sides(node.left, node.right, scope, depth))
    if isinstance(node, ast.IfExp):
        return [text for side in _sides(node.body, node.orelse, scope, depth) for text in side]
    if isinstance(node, ast.Name) and depth:
        return [text for value in scope.values(node.id, node.lineno) for text in texts(value, scope, depth - 1)]
    if isinstance(node, ast.GeneratorExp | ast.ListComp):
        return texts(node.elt, scope, depth)
    if isinstance(node, ast.List):
        return [text for one in node.elts for text in texts(one, scope, depth)]
    return []


def _sides(one: ast.expr, other: ast.expr, scope: Scope, depth: int) -> list[list[str]]:
    """The texts of two expressions, of which at least one is known to be a text."""
    found = {side: texts(side, scope, depth) for side in (one, other)}
    return [known or [f"{{{_name(side)}}}"] for side, known in found.items()] if any(found.values()) else []


def _part(value: ast.expr, scope: Scope, depth: int) -> list[str]:
    if not isinstance(value, ast.FormattedValue):
        return texts(value, scope, depth)
    inner = value.value
    known = texts(inner, scope, depth - 1) if isinstance(inner, ast.Name | ast.IfExp) and depth else []
    return known or [f"{{{_name(inner)}}}"]


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
