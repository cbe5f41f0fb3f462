"""Marks of a word segmentation next to the characters of a file: ``科0``, ``技1`` (Weibo NER), or ``科B``, ``技E``."""

import re
from collections import Counter
from collections.abc import Mapping

# Written next to a character: printable ASCII, full-width letters and digits, raised, lowered and circled digits.
_MARK = r"[!-~０-９Ａ-Ｚａ-ｚ⁰¹²³⁴-⁹₀-₉①-⑳]+"
HAN = r"[\u2e80-\u2fdf\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_ONLY_MARK = re.compile(_MARK)
MARK_AFTER = re.compile(rf"({HAN}|[\u3000\ufe0f\U0001f000-\U0001faff]{{1,2}}){_MARK}")  # a character, space or emoji
_MARK_BEFORE = re.compile(rf"{_MARK}({HAN})")
FEW = 1 / 50  # of a file's tokens: fewer that look marked (``维C``) are text
CHARACTERS = 5  # so many different ones are not marked by chance
_DROPPED = re.compile(r"(.+?)([0-9]{1,3}|[BMES])", re.DOTALL)
_CARRY = "the tokens carry their positions in words, or other marks of a word segmentation"
NO_MARKS = "the characters carry no marks of a word segmentation, but `segmentation` is true; remove the option"
_AFTER = {"": "BS", "B": "ME", "M": "ME", "E": "BS", "S": "BS"}  # what follows each letter


def marked(tokens: Mapping[str, int], least: int = 2) -> set[str]:
    """The tokens of a file (and how often it has each) that carry a mark, if its tokens do; otherwise none.

    They do if tokens of one Han character and a mark are most of all tokens; or, with the mark behind the character,
    not few, of different characters, and most of the tokens of several characters: then words of one character have no
    mark. ``CT`` and ``10`` decide nothing: they may be text, or a character with its mark. Fewer than ``least``
    different ones decide nothing either.
    """
    counts = Counter({token: n for token, n in tokens.items() if len(token) < 2 or not _ONLY_MARK.fullmatch(token)})
    total = counts.total()
    several = sum(count for token, count in counts.items() if len(token) > 1)
    for pattern in (MARK_AFTER, _MARK_BEFORE):
        found = {token: match[1] for token in counts if (match := pattern.fullmatch(token))}
        number = sum(counts[token] for token in found)
        varied = len(set(found.values())) >= CHARACTERS
        if pattern is MARK_AFTER:
            most = 2 * number > total and len(found) >= least
            many = varied and 2 * number > several and number > FEW * total
        else:  # B超, 5年: text, as long as there are not only such tokens
            most, many = varied and 2 * number > total, False
        if most or many:
            return set(found)
    return set()


def has_marks_behind(tokens: Mapping[str, int]) -> bool:
    """Whether there are marks that `without_mark` drops."""
    return any(map(MARK_AFTER.fullmatch, marked(tokens, least=1)))


def marks_problem(shown: str, drop: str) -> str:
    """What is wrong with tokens that carry marks, some of which are shown; ``drop`` is the option that drops them."""
    return f"{_CARRY}: {shown}; remove these digits or letters, or they become text; {drop} drops them"


def bad_mark(before: str, shown: str) -> tuple[str, str]:
    """Why a sentence cannot be read if `without_mark` finds none: (reason, message)."""
    return "positions in words", f"has no position in a word, or one that cannot follow {before}: {shown}"


def without_mark(token: str, before: str) -> tuple[str, str] | None:
    """A token without the mark behind it, and the mark; None if the mark cannot follow the one of the token before.

    Positions count up from 0 or 1, letters follow each other as BMES; a token of one character has no mark. ``before``
    is the mark of the token before, "" if it had none or the sentence starts.
    """
    if len(token) == 1:
        return token, ""
    if not (match := _DROPPED.fullmatch(token)):
        return None
    mark = match[2]
    if mark.isdecimal():
        follows = int(mark) < 2 or (before.isdecimal() and int(mark) == int(before) + 1)
    else:
        follows = mark in _AFTER.get(before, "BS")
    return (match[1], mark) if follows else None
