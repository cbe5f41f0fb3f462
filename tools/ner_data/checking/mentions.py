"""What is odd about a mention, by its surface and the characters around it; no dictionary is asked."""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

_PAIRS = dict(zip("《〈「『“‘（(【[〔｛{〖＜<｟", "》〉」』”’）)】]〕｝}〗＞>｠", strict=True))
_OPENING = {closing: opening for opening, closing in _PAIRS.items()} | {'"': '"', "'": "'"}
_CLOSING = _PAIRS | {'"': '"', "'": "'"}
_PART_OF_NAMES = set("%％‰&＆@＠#＃*＊°′″")  # 50%, C#, A*
_LATIN = "A-Za-zＡ-Ｚａ-ｚÀ-ÖØ-öø-ɏ"
_DIGIT = "0-9０-９"
_INSIDE = re.compile(f"[{_LATIN}][{_LATIN}]|[{_DIGIT}][{_DIGIT}]")
_WORD = re.compile(f"[{_LATIN}{_DIGIT}]")
_WIDE = re.compile("[Ａ-Ｚａ-ｚ０-９]")
_NARROW = re.compile("[A-Za-z0-9]")
_BRACKETS = {("(", "）"), ("（", ")"), ("[", "］"), ("［", "]"), ("<", "＞"), ("＜", ">")}
# Full-width forms of ASCII, and the ideographic space, to ASCII.
_TO_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


class Traits(NamedTuple):
    """What a surface shows by itself.

    Attributes:
        outer: what is wrong at its ends; empty if nothing is.
        word: whether it begins or ends with a character that a word or number may continue.
        mixed: what is mixed inside it; empty if nothing is.
    """

    outer: str
    word: bool
    mixed: str


@lru_cache(1 << 16)
def traits(surface: str) -> Traits:
    """The traits of a surface."""
    start, end = core(surface)
    outer = []
    if start:
        outer.append(f"begins with {_named(surface[0])}")
    if end < len(surface):
        outer.append(f"ends with {_named(surface[-1])}")
    if start == end:
        outer = ["is nothing but punctuation or space"]
    # The second character of a decomposed letter is a mark of its own.
    word = bool(_WORD.match(surface) or _WORD.match(surface[-1]) or (not surface.isascii() and _marked(surface[0])))
    mixed = ""
    if _WIDE.search(surface) and _NARROW.search(surface):
        mixed = "mixes full-width and half-width letters or digits"
    elif any(surface.rfind(closing) > surface.find(opening) >= 0 for opening, closing in _BRACKETS):
        mixed = "has a full-width and a half-width bracket" if _unpaired(surface) else ""
    return Traits(" and ".join(outer), word, mixed)


def _unpaired(surface: str) -> bool:
    return any(surface.count(one) != surface.count(_PAIRS.get(one, one)) for one in "(（[<＜")


def core(surface: str) -> tuple[int, int]:
    """What remains of a surface without odd punctuation and white space at its ends: ``surface[start:end]``.

    Brackets and quotes stay where their other half is inside the surface; so do the full stops of abbreviations and of
    names such as ``.NET``, and marks that are part of names (``%``, ``#``).
    """
    start, end = 0, len(surface)
    while start < end and _odd_start(surface[start:end]):
        start += 1
    while start < end and _odd_end(surface[start:end]):
        end -= 1
    return start, end


def _odd_start(rest: str) -> bool:
    char = rest[0]
    if not _is_outer(char) or char in _PART_OF_NAMES:
        return False
    if char in _CLOSING:
        return _CLOSING[char] not in rest[1:]
    return not (char in ".-－+" and _WORD.match(rest[1:2]))


def _odd_end(rest: str) -> bool:
    char = rest[-1]
    if not _is_outer(char) or char in _PART_OF_NAMES:
        return False
    if char in _OPENING:
        return _OPENING[char] not in rest[:-1]
    return not (char in ".!！-" and _WORD.match(rest[-2:-1]))


def _is_outer(char: str) -> bool:
    return char.isspace() or unicodedata.category(char)[0] == "P" or char in "<>＜＞"


def _marked(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"


def _named(char: str) -> str:
    """A character in words, so that a space can be seen."""
    return f"U+{ord(char):04X} (white space)" if char.isspace() else f"“{char}”"


def inside_word(text: str, start: int, end: int) -> bool:
    """Whether ``text[start:end]`` begins or ends inside a run of Latin letters or of digits, or before a mark."""
    return any(0 < at < len(text) and bool(_INSIDE.match(text, at - 1) or _marked(text[at])) for at in (start, end))


def narrow(surface: str) -> str:
    """A surface with the full-width forms of ASCII as ASCII."""
    return surface.translate(_TO_NARROW)
