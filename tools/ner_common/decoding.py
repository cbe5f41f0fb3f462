"""Decoding of JSON and YAML that others wrote: bounded in size and depth, and checked against a type.

Every file of ours, every configuration of a model and every answer of a server goes through here. ``type`` is any
type that msgspec knows: a `msgspec.Struct` (``forbid_unknown_fields=True`` for files of ours), a dataclass,
``dict[str, int]``, ``Annotated[int, msgspec.Meta(ge=0)]``, … A float is finite, a bool is not an int, and no number is
read from a string.

JSON may escape lone surrogates, which UTF-8 cannot encode; each is read as U+FFFD, which keeps offsets right.
"""

import re
from collections import Counter
from itertools import accumulate
from typing import Any, TypeVar, overload

from ner_common.errors import escaped

T = TypeVar("T")
DEPTH = 64  # of nested arrays and objects; ours have four
SIZE = 64 << 20  # bytes of one JSON document; a large model's tokenizer.json has 11 MB
YAML_SIZE = 1 << 20
INTEGER = 1024  # bits, as far as floats reach; Python itself does not print larger ones than 14,000
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_STEP = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
# An escaped backslash, a pair of surrogates (both stay as they are), or a lone surrogate.
_SURROGATE = re.compile(
    rb"\\(?:\\|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


class NotJSON(ValueError):
    """Text that is not JSON at all; ``line`` counts from 1."""

    def __init__(self, problem: str, line: int = 1) -> None:
        super().__init__(problem)
        self.line = line


@overload
def decode_json(data: bytes | str) -> Any: ...
@overload
def decode_json(data: bytes | str, type: type[T], size: int = SIZE) -> T: ...
def decode_json(data: bytes | str, type: Any = Any, size: int = SIZE) -> Any:
    """Read one JSON value of at most ``size`` bytes as a value of ``type``.

    Raises:
        NotJSON: it is not UTF-8, not JSON, too large, or nested too deeply.
        ValueError: it is JSON of another type; the message says where: ``entities[0].start: expected int, got str``.
    """
    import msgspec

    try:
        data = data.encode() if isinstance(data, str) else data
    except UnicodeEncodeError:
        raise NotJSON("a lone surrogate, which UTF-8 cannot encode") from None
    if len(data) > size:
        raise NotJSON(f"{len(data):,} bytes, more than {size:,}")
    if data.count(b"[") + data.count(b"{") > DEPTH and _depth(data) > DEPTH:
        raise NotJSON(f"nested more than {DEPTH} levels deep")
    try:
        return _decoded(data, type)
    except msgspec.ValidationError as error:
        raise _wrong(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise not_json(error, data) from None


def not_json(error: Exception, data: bytes) -> NotJSON:
    """What msgspec says of some bytes that are no JSON, with the line in place of the byte."""
    problem = str(error).removeprefix("JSON is malformed: ")
    at = re.search(r" \(byte (\d+)\)", problem)
    line = data.count(b"\n", 0, int(at[1]) if at else len(data)) + 1
    return NotJSON(problem.replace(at[0], "") if at else problem, line)


def _decoded(data: bytes, type: Any) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError):
        repaired = _SURROGATE.sub(lambda found: rb"\ufffd" if found["lone"] else found[0], data)
        if repaired == data:
            raise
        return msgspec.json.decode(repaired, type=type)


def has_lone_surrogate(data: bytes) -> bool:
    """Whether `decode_json` reads an escape of this JSON as U+FFFD."""
    return any(found["lone"] for found in _SURROGATE.finditer(data))


def _depth(data: bytes) -> int:
    steps = (_STEP[bracket] for bracket in _BRACKET.findall(_STRING.sub(b"", data)))
    return max(accumulate(steps), default=0)


def _wrong(error: Exception) -> ValueError:
    """msgspec's ``Expected `int`, got `str` - at `$.a[0]` `` in our words."""
    text, _, where = str(error).partition(" - at `")
    text = text.replace("Object missing required field", "lacks").replace("Object contains unknown", "has the unknown")
    text = text[:1].lower() + text[1:].replace("`", "")
    place = where.rstrip("`").removeprefix("$").removeprefix(".")
    return ValueError(escaped(f"{place}: {text}" if place else text, 200))


def convert(value: Any, type: type[T]) -> T:
    """Check a decoded value (from YAML or a library) against ``type``.

    Raises:
        ValueError: it is of another type, or holds itself.
    """
    import msgspec

    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise _wrong(error) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decode_yaml(text: str) -> Any:
    """Read one YAML document of plain mappings, lists, strings, numbers, booleans and nulls.

    Dates stay strings, and aliases are refused: a few of them make a document that takes hours to walk.

    Raises:
        ValueError: it is none, too large, or nested too deeply; the message is one line.
    """
    import yaml

    if len(text) > YAML_SIZE:
        raise ValueError(f"not YAML ({len(text):,} characters, more than {YAML_SIZE:,})")
    try:
        return yaml.load(text, _loader())  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "a character that YAML does not allow"
        raise ValueError(f"not YAML ({line}{escaped(problem, 120)})") from None
    except RecursionError:
        raise ValueError("not YAML (nested too deeply)") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"not YAML ({escaped(str(error), 120)})") from None


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth += 1
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            mark: Any = event.start_mark
            if isinstance(event, yaml.AliasEvent):
                raise yaml.MarkedYAMLError(None, None, "an alias (*); write its value out", mark)
            if self.depth > DEPTH:
                raise yaml.MarkedYAMLError(None, None, f"nested more than {DEPTH} levels deep", mark)
            node: Any = super().compose_node(parent, index)
            self.depth -= 1
            if isinstance(node, yaml.MappingNode):
                keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
                if repeated := [value for (_, value), count in Counter(keys).items() if count > 1]:
                    raise yaml.MarkedYAMLError(None, None, f"the key {repeated[0]} is there more than once", mark)
            return node

    def whole_number(loader: Any, node: Any) -> Any:
        value: Any = loader.construct_yaml_int(node)
        if value.bit_length() > INTEGER:
            raise yaml.MarkedYAMLError(None, None, f"a whole number of more than {INTEGER} bits", node.start_mark)
        return value

    Loader.add_constructor("tag:yaml.org,2002:int", whole_number)
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader
