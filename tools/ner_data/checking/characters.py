"""The characters of many texts at once: their widths, and which of them are unusual."""

import unicodedata
from functools import cache
from typing import Any

_ODD, _WIDE, _NARROW = 1, 2, 3
_UNUSUAL = {"Cc", "Cf", "Co", "Cn", "Zl", "Zp", "Zs"}


@cache
def _table() -> Any:
    """For each character of the basic plane, what it is."""
    import numpy as np

    kinds = np.zeros(1 << 16, np.uint8)
    for code in range(1 << 16):
        kinds[code] = _ODD if unicodedata.category(chr(code)) in _UNUSUAL and code != 0x20 else 0
    kinds[0xFFFD] = _ODD
    for first, last in ("09", "AZ", "az"):
        kinds[ord(first) : ord(last) + 1] = _NARROW
        kinds[ord(first) + 0xFEE0 : ord(last) + 0xFEE0 + 1] = _WIDE
    return kinds


def codes_of(texts: list[str]) -> tuple[Any, Any]:
    """The code points of texts in one array, and where each text starts in it (and the end)."""
    import numpy as np

    codes = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=starts[1:])
    return codes, starts


def look_at(texts: list[str]) -> tuple[int, int, list[tuple[str, int, int]]]:
    """Full-width letters and digits, half-width ones, and unusual characters: (name, number of the text, offset)."""
    import numpy as np

    codes, starts = codes_of(texts)
    kinds = _table()[np.minimum(codes, 0xFFFE)]
    kinds[codes > 0xFFFF] = 0  # beyond the basic plane, none is known to be unusual
    found = []
    for at in np.flatnonzero(kinds == _ODD).tolist():
        number = int(np.searchsorted(starts, at, "right")) - 1
        found.append((_name(chr(codes[at])), number, at - int(starts[number])))
    return int((kinds == _WIDE).sum()), int((kinds == _NARROW).sum()), found


def _name(char: str) -> str:
    known = {"\t": "TAB", "\n": "LINE FEED", "\r": "CARRIAGE RETURN"}
    other = {"Co": "private use", "Cc": "control character"}.get(unicodedata.category(char), "unassigned")
    return f"U+{ord(char):04X} {known.get(char) or unicodedata.name(char, other)}"
