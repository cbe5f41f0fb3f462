"""Character-per-line BIO, as in the TCM corpus: ``char SPACE tag``, a blank line between sentences.

A sample sentence::

    头 O
    晕 B-临床表现
    目 B-临床表现
    眩 I-临床表现

Lines end in LF or CRLF. The separator is the last ASCII space or tab of a line, so the character can be U+3000
(ideographic space) or even a plain space. An ``I-`` that does not continue a ``B-`` or ``I-`` of its label starts a
mention (as conlleval reads it); every such tag is counted. For all the rest see `_tagged` and `_schemes`.
"""

from dataclasses import dataclass

from ner_data.formats._schemes import SCHEMES
from ner_data.formats._tagged import LONG, MARKER, Tagged

__all__ = ["LONG", "MARKER", "ORPHAN", "Reader"]
ORPHAN = "I- without B- (starts a mention)"


@dataclass(frozen=True)
class Reader(Tagged):
    """See the module."""

    title = "a character and its BIO tag per line"
    scheme = SCHEMES["bio"]
