"""The reference of a package's public names, from signatures and docstrings."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes):$")
ITEM = re.compile(r"^ {4}([\w*][\w*, ]*)((?: \([^)]*\))?): (.*)$")
WORDS = {
    "en": {},
    "zh": {"Args": "参数", "Returns": "返回", "Raises": "异常", "Yields": "产出", "Attributes": "属性"},
}


def page(*packages: str, language: str = "en") -> str:
    """Every name of a package's ``__all__``: its signature, its docstring and, of a class, its public methods."""
    return "\n".join(line for package in packages for line in _lines(package, WORDS[language]))


def _lines(package: str, words: dict[str, str]) -> Iterator[str]:
    module = import_module(package)
    yield f"## {package}\n"
    for name in module.__all__:
        yield from _entry(name, getattr(module, name), words)


def _entry(name: str, thing: Any, words: dict[str, str]) -> Iterator[str]:
    yield f"### {name}\n\n```python\n{_signature(name, thing)}\n```\n"
    yield from _docstring(thing, words)
    if inspect.isclass(thing):
        for method, function in vars(thing).items():
            if inspect.isfunction(function) and not method.startswith("_") and function.__doc__:
                yield f"#### {name}.{method}\n\n```python\n{_signature(method, function)}\n```\n"
                yield from _docstring(function, words)


def _signature(name: str, thing: Any) -> str:
    """The call, one argument per line if it is long."""
    try:
        signature = inspect.signature(thing)
    except ValueError:
        return name
    given, star = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            given.append("*")
        if parameter.name != "self":
            given.append(_parameter(parameter))
    returns = signature.return_annotation
    told = "" if inspect.isclass(thing) or returns is inspect.Signature.empty else f" -> {_type(returns)}"
    line = f"{name}({', '.join(given)}){told}"
    return line if len(line) <= 100 else f"{name}(\n    " + ",\n    ".join(given) + f",\n){told}"


def _parameter(parameter: inspect.Parameter) -> str:
    typed = f"{parameter.name}: {_type(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return typed
    value = parameter.default
    return f"{typed} = {getattr(value, '__name__', None) or repr(value)}"


def _type(annotation: Any) -> str:
    """An annotation without the modules of its names."""
    plain = inspect.isclass(annotation) and not hasattr(annotation, "__args__")
    text = annotation.__name__ if plain else str(annotation)
    return re.sub(r"(?:[A-Za-z_]\w*\.)+([A-Za-z_]\w*)", r"\1", text)


def _docstring(thing: Any, words: dict[str, str]) -> Iterator[str]:
    """A docstring as Markdown: sections become bold words, their items a list."""
    text = inspect.getdoc(thing) or ""
    if inspect.isclass(thing) and text.startswith(f"{thing.__name__}("):  # what dataclasses write themselves
        text = ""
    within = False
    for line in text.replace("``", "`").splitlines():
        if found := SECTION.match(line):
            within = True
            yield f"**{words.get(found[1], found[1])}**\n"
        elif within and (item := ITEM.match(line)):
            yield f"- `{item[1]}`{item[2]}: {item[3]}"
        elif within and line.startswith("    "):
            yield f"  {line.strip()}"
        else:
            within = within and not line
            yield line
    yield ""
