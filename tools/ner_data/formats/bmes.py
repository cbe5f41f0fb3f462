"""Character-per-line BMES, as in ResumeNER: begin, middle, end, and single for a mention of one character.

A sample sentence::

    林 B-name
    小 M-name
    晓 E-name
    在 O
    京 S-place

Also called BMESO and BEMS.
Rows, separators and document markers are as in `bio`. What is read, repaired and refused: `_tagged`, `_schemes`.
"""

from dataclasses import dataclass

from ner_data.formats._schemes import SCHEMES
from ner_data.formats._tagged import Tagged


@dataclass(frozen=True)
class Reader(Tagged):
    """See the module."""

    title = "a character and its BMES tag per line (ResumeNER)"
    scheme = SCHEMES["bmes"]
