"""What the formats of JSON records share: a record at a time, strictly read, with messages that say what is there."""

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from ner_common.decoding import decode_json, has_lone_surrogate
from ner_common.errors import UserError, escaped, one_line
from ner_common.files import Opener
from ner_data.formats import ONCE, Format, Piece, Sample
from ner_data.gold import Entity, Record
from ner_data.source import Source

KEPT: tuple[str, ...] = (
    "Touching, nested and crossing mentions, and those across line breaks, are kept.",
    ONCE,
    "There is no way to write a discontinuous mention in it.",
)
NO_GOLD = "set `gold: false` for a split without labels"
INCLUSIVE, EXCLUSIVE = "inclusive", "exclusive"
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)


class Bad(ValueError):
    """A record that cannot be used."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.problem = (reason, message)


class JSONRecords(Format):
    """Files with a JSON value per record, as JSON lines or as one array.

    Attributes:
        label_keys: the keys whose values are labels, to name those of a record that cannot be used.
    """

    label_keys: ClassVar[frozenset[str]] = frozenset()
    policies: ClassVar[tuple[str, ...]] = KEPT

    def pieces(self, source: Source) -> Iterator[Piece]:
        return (Piece(number, item) for number, item in source.items())

    def parse(self, piece: Piece, gold: bool) -> Sample:
        try:
            value = decode_json(piece.content)
        except ValueError:
            message = f"not JSON: {one_line(piece.content.strip(), 60)}"
            return Sample(piece.line, "", None, ("malformed JSON", message))
        try:
            check_strings(piece.content, value)
            return self.sample(piece.line, value, gold)
        except Bad as bad:
            return Sample(piece.line, "", None, bad.problem, labels=frozenset(self.named(value)))

    @abstractmethod
    def sample(self, line: int, value: Any, gold: bool) -> Sample:
        """Read one record, a decoded JSON value.

        Raises:
            Bad: it cannot be used.
        """

    def named(self, value: Any) -> set[str]:
        """The labels in a record that cannot be used, as far as they can be read; it never raises."""
        return labels_in(value, self.label_keys)

    def refusal(self, record: Record) -> tuple[str, str] | None:
        return None if record.text.strip() else ("no text", "has no text but white space")


@dataclass(frozen=True)
class SpanRecords(JSONRecords):
    """Records whose spans end with the last character of a mention, or behind it, as the option ``end`` says."""

    end: str = INCLUSIVE

    variants = ({}, {"end": EXCLUSIVE})

    def __post_init__(self) -> None:
        chosen("end", self.end, INCLUSIVE, EXCLUSIVE)

    @property
    def inclusive(self) -> bool:
        return self.end == INCLUSIVE


def check_strings(text: str, value: Any) -> None:
    """Refuse JSON whose strings have no one reading.

    Args:
        text: the JSON.
        value: what it was decoded to.

    Raises:
        Bad: a string has a lone surrogate; an object has a key twice, and only one of the values was kept.
    """
    if "\\" not in text:  # then every string has two quotes, and no others
        repeated = text.count('"') != msgspec.json.encode(value).count(b'"')
    elif has_lone_surrogate(text.encode()):
        raise Bad("lone surrogate", "a \\ud800 to \\udfff without its other half is no character")
    else:
        repeated = len(_STRING.findall(text)) != _strings(value)
    if repeated:
        raise Bad("duplicate key", "a key is there more than once")


def _strings(value: Any) -> int:
    """How many strings, keys too, a decoded value has."""
    if isinstance(value, str):
        return 1
    if isinstance(value, dict):
        return len(value) + sum(map(_strings, value.values()))
    return sum(map(_strings, value)) if isinstance(value, list) else 0


def labels_in(value: Any, keys: frozenset[str]) -> set[str]:
    """The strings under some keys of a decoded value, and the last ones of ``[start, end, label]``."""
    if isinstance(value, dict):
        found = set().union(*(labels_in(part, keys) for part in value.values()))
        for key in keys & value.keys():
            parts = value[key] if isinstance(value[key], list) else [value[key]]
            found.update(part for part in parts if isinstance(part, str))
        return found
    if isinstance(value, list):
        found = set().union(*(labels_in(part, keys) for part in value))
        is_span = len(value) == 3 and isinstance(value[2], str) and not isinstance(value[1], str)
        return found | {value[2]} if is_span else found
    return set()


def text_in(value: Any, key: str = "text", remedy: str = "") -> str:
    """The text of a record that is an object; ``remedy``: what to do if it is under another key.

    Raises:
        Bad: it is none, or has no text.
    """
    if not isinstance(value, dict):
        raise Bad("malformed record", f"a record must be an object with {one_line(key)}, not {one_line(value)}")
    if key not in value:
        raise Bad("no text", f"has no {one_line(key)}, only {names(value)}{remedy}")
    text = value[key]
    if not isinstance(text, str) or not text.strip():
        raise Bad("no text", f"needs a non-empty string {one_line(key)}, not {one_line(text)}")
    return text


def identity_in(value: dict[str, Any], key: str = "id") -> str | int | None:
    """The id of a record, if it has one.

    Raises:
        Bad: it is of another type.
    """
    identity = value.get(key)
    if not isinstance(identity, str | int | None) or isinstance(identity, bool):
        raise Bad("malformed id", f"the id {one_line(identity)} is neither a string nor an integer")
    return identity


def list_in(value: dict[str, Any], key: str, form: str) -> list[Any]:
    """The list of spans under a key of a record; ``form`` says how its items are written.

    Raises:
        Bad: there is none.
    """
    if value.get(key) is None:
        raise Bad("no gold", f"has no {one_line(key)}, a list of {form}; {NO_GOLD}")
    if not isinstance(value[key], list):
        raise Bad("malformed entities", f"{one_line(key)} must be a list of {form}, not {one_line(value[key])}")
    return value[key]  # type: ignore[no-any-return]


def fields_in(value: Any, form: str, *keys: str, what: str = "entity") -> list[Any]:
    """The values of a part of a record that is an object with these keys, among others.

    Args:
        value: the part.
        form: what it should look like.
        keys: the keys.
        what: what the part is.

    Raises:
        Bad: it is none.
    """
    try:
        return [value[key] for key in keys]
    except (KeyError, TypeError):
        raise Bad("malformed entities", f"each {what} must be {form}, not {one_line(value)}") from None


def names(value: dict[str, Any]) -> str:
    """The keys of a record, for a message."""
    return escaped(", ".join(value)) or "no keys"


def chosen(option: str, value: str, *known: str) -> None:
    """Refuse a value of an option that is not one of a few.

    Raises:
        UserError: it is none of them.
    """
    if value not in known:
        raise UserError(f"options: {option} must be one of {', '.join(known)}, not {one_line(value)}")


def entity(
    text: str, start: Any, end: Any, label: Any, surface: Any = None, *, inclusive: bool = False, remedy: str = ""
) -> Entity:
    """A mention whose offsets and label were checked.

    Args:
        text: the text of the record.
        start: its first character.
        end: its last character if ``inclusive``, otherwise the one behind it.
        label: its label.
        surface: what it is in the text, if the record says so.
        inclusive: see ``end``.
        remedy: what to do if the surface is there with the other kind of end.

    Raises:
        Bad: a value is of another type; the offsets are reversed, equal or out of range; the surface is another.
    """
    if type(start) is type(end) is int and isinstance(label, str):
        stop = end + inclusive
        if 0 <= start < stop <= len(text) and label.strip():
            there = text[start:stop]
            if surface is None or surface == there:
                return Entity(start, stop, label, there)
    raise _bad_span(text, start, end, label, surface, inclusive, remedy)


def _bad_span(text: str, start: Any, end: Any, label: Any, surface: Any, inclusive: bool, remedy: str) -> Bad:
    """What is wrong with a span that `entity` refuses."""
    is_label = isinstance(label, str) and bool(label.strip())
    shown = escaped(label, 40) if is_label else one_line(label, 40)
    shown += "" if surface is None else f" {one_line(surface, 40)}"
    where = f"{shown} at [{one_line(start, 20)}, {one_line(end, 20)}{']' if inclusive else ')'}"
    if not is_label:
        return Bad("malformed label", f"{where}: the label must be a non-empty string")
    if type(start) is not int or type(end) is not int:
        return Bad("malformed offsets", f"{where}: the offsets must be whole numbers")
    stop = end + inclusive
    if start == stop and not inclusive:
        return Bad("empty mention", f"{where}: start and end are the same; ends are exclusive")
    if start >= stop:
        return Bad("reversed offsets", f"{where}: the start is after the end")
    if start < 0 or stop > len(text):
        return Bad("offsets out of range", f"{where}: the text has {len(text)} characters")
    kind, other = (INCLUSIVE, stop - 1) if inclusive else (EXCLUSIVE, stop + 1)
    hint = f"; with the other kind of end it fits: {remedy}" if remedy and text[start:other] == surface else ""
    message = f"{where}, but the text has {one_line(text[start:stop])} there (ends are {kind}){hint}"
    return Bad("offsets do not match", message)


def utf16_offset(text: str, place: int) -> int:
    """Where a character of a text is in UTF-16."""
    return len(text[:place].encode("utf-16-le")) // 2


def utf16_places(text: str) -> list[int]:
    """For each UTF-16 code unit of a text, and for its end, the character that it starts; -1 inside a character.

    It is empty if every character is one unit.
    """
    if utf16_offset(text, len(text)) == len(text):
        return []
    places: list[int] = []
    for place, character in enumerate(text):
        places += [place, -1] if character > "\uffff" else [place]
    return [*places, len(text)]


def from_utf16(places: list[int], start: Any, end: Any) -> tuple[Any, Any]:
    """Turn offsets that count UTF-16 units, as JavaScript does, into offsets of characters; see `entity` for the rest.

    Args:
        places: the `utf16_places` of the text.
        start: the first unit.
        end: the unit behind the last one.

    Raises:
        Bad: one of them is inside a character.
    """
    if not places or type(start) is not int or type(end) is not int:
        return start, end
    found = [places[offset] if 0 <= offset < len(places) else offset for offset in (start, end)]
    for offset, place in zip((start, end), found, strict=True):
        if offset >= 0 > place:
            raise Bad("offsets inside a character", f"the offset {offset} is inside a character of two UTF-16 units")
    return found[0], found[1]


def write_lines(target: Path, suffix: str, values: Iterable[Any], write: Opener) -> None:
    """Write JSON lines."""
    with write(target.with_name(target.name + suffix)) as file:
        for value in values:
            file.write(msgspec.json.encode(value).decode() + "\n")


def write_array(target: Path, suffix: str, values: Iterable[Any], write: Opener) -> None:
    """Write a JSON array, an item per line."""
    with write(target.with_name(target.name + suffix)) as file:
        separator = "[\n"
        for value in values:
            file.write(separator + msgspec.json.encode(value).decode())
            separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")
