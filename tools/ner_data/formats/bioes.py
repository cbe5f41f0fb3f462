"""Character-per-line BIOES: begin, inside, end, and single for a mention of one character.

A sample sentence::

    林 B-name
    小 I-name
    晓 E-name
    在 O
    京 S-place

Also called IOBES or BIESO.
Rows, separators and document markers are as in `bio`. What is read, repaired and refused: `_tagged`, `_schemes`.
"""

from dataclasses import dataclass

from ner_data.formats._schemes import SCHEMES
from ner_data.formats._tagged import Tagged


@dataclass(frozen=True)
class Reader(Tagged):
    """See the module."""

    title = "a character and its BIOES tag per line"
    scheme = SCHEMES["bioes"]
