"""Character-per-line BMEWO: begin, middle, end, and whole for a mention of one character.

A sample sentence::

    林 B-name
    小 M-name
    晓 E-name
    在 O
    京 W-place

It is BMES with another letter for mentions of one character.
Rows, separators and document markers are as in `bio`. What is read, repaired and refused: `_tagged`, `_schemes`.
"""

from dataclasses import dataclass

from ner_data.formats._schemes import SCHEMES
from ner_data.formats._tagged import Tagged


@dataclass(frozen=True)
class Reader(Tagged):
    """See the module."""

    title = "a character and its BMEWO tag per line"
    scheme = SCHEMES["bmewo"]
