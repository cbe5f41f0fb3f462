"""Tagging schemes: which letters say where a mention starts, goes on and ends, and what a row of tags means.

A tag is read as ``B-PER``, ``B_PER`` (People's Daily 2014), ``b-per`` or, with the letter last, ``PER-B`` (CCKS) and
``PER_B``; where both could be meant, the letter is the first one. Written are ``B-PER`` and ``O``.

What a row of tags means, if its scheme marks both ends of a mention (all but BIO and IOB1):

- Between two tags of one label a mention goes on if neither says that one ends or starts there; if both do, there is a
  boundary. If only one does (``E-x M-x``, ``B-x B-x``), either may be wrong, and the sentence is refused.
- Between two labels one of the tags must say so, or the sentence is refused: a label that changes inside a mention.
- Next to ``O``, another label or the end of the sentence it is clear where a mention starts and ends, whatever its tag
  is: one that lacks its mark there (``B-x O``, ``O M-x E-x``) is read, and counted.

BIO has no mark of ends: an ``I-`` that continues no mention of its label starts one, as conlleval reads it, and is
counted. IOB1, of the first CoNLL data, has ``B-`` only where a mention touches one of its label before it; another
``B-`` starts a mention too, and is counted.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain

from ner_common.errors import one_line

Tag = tuple[str, str]  # letter and label; ("O", "") outside of mentions, ("", "") for what is no tag
Span = tuple[int, int, str]  # first token, the one after the last, label
BROKEN = "broken mention"
OUTSIDE: Tag = ("O", "")
NEEDLESS = "B- where nothing touches (starts a mention, as I- does in IOB1)"
LETTERS = "BIMESWLU"
_TAG = re.compile(
    rf"(?P<first>[{LETTERS}{LETTERS.lower()}])[-_](?P<label>\S+)|(?P<before>\S+)[-_](?P<last>[{LETTERS}])"
)


@dataclass(frozen=True)
class Scheme:
    """The letters of a scheme: inside, last and only character of a mention, and the first one where nothing touches.

    ``end`` and ``single`` are empty if the scheme does not mark ends.
    """

    name: str
    inside: str
    end: str = ""
    single: str = ""
    first: str = "B"

    @property
    def letters(self) -> str:
        return "B" + self.inside + self.end + self.single

    @cached_property
    def tags(self) -> frozenset[str]:
        """The first letters of its tags."""
        return frozenset("O" + self.letters)


SCHEMES = {
    "bio": Scheme("BIO", "I"),
    "iob1": Scheme("IOB1", "I", first="I"),
    "bioes": Scheme("BIOES", "I", "E", "S"),
    "bmes": Scheme("BMES", "M", "E", "S"),
    "bmewo": Scheme("BMEWO", "M", "E", "W"),
}


class Unclear(ValueError):
    """A token or tag that contradicts others: (its index, short name of the problem, what is wrong)."""


@lru_cache(maxsize=1 << 16)
def split_tag(tag: str) -> Tag:
    """The letter, in upper case, and the label of a tag of any scheme."""
    if tag in ("O", "o"):
        return OUTSIDE
    if not (match := _TAG.fullmatch(tag)):
        return ("", "")
    return (match["first"] or match["last"]).upper(), match["label"] or match["before"]


def scheme_problem(name: str) -> str | None:
    """What is wrong with the name of a scheme in an option."""
    return None if name in SCHEMES else f"options: scheme must be one of {', '.join(SCHEMES)}, not {one_line(name)}"


def wrong_tag(tag: str, scheme: Scheme) -> str:
    """What is wrong with a tag that is none of a scheme."""
    letter, _ = split_tag(tag)
    known = ", ".join(f"{one}-label" for one in scheme.letters)
    only = f"{scheme.name} has only {known} and O"
    if letter and letter in "LU":
        return f"has the tag {one_line(tag)}: BILOU is not read, write E- for L- and S- for U-; {only}"
    owners = [other.name for name, other in SCHEMES.items() if letter and letter in other.letters and name != "iob1"]
    if owners:
        listed = " or ".join([", ".join(owners[:-1]), owners[-1]] if owners[1:] else owners)
        return f"has the tag {one_line(tag)}: {letter}- belongs to {listed}; {only}"
    return f"has the tag {one_line(tag)}; {only}"


def spans(tags: Iterable[Tag], scheme: Scheme) -> tuple[list[Span], list[str]]:
    """The mentions of a row of tags of a scheme, and the name of each repair (see the module).

    Raises:
        Unclear: two tags contradict each other.
    """
    found: list[Span] = []
    repairs: list[str] = []
    last, current, start = "O", "", 0
    for at, (letter, label) in enumerate(chain(tags, (OUTSIDE,))):
        if letter == last == "O":
            continue
        same = label == current
        opens, closes = letter in ("B", scheme.single), last in (scheme.end, scheme.single)
        if scheme.end and letter != "O" != last and (opens != closes if same else not (opens or closes)):
            problem = "does the mention go on, or start again?" if same else "the label changes inside a mention;"
            now, before = one_line(f"{letter}-{label}"), one_line(f"{last}-{current}")
            raise Unclear(at, BROKEN, f"has {now} after {before}: {problem} correct one of the two tags")
        if not same or opens:
            if last != "O":
                found.append((start, at, current))
                if scheme.end and not closes:
                    repairs.append(f"{last}- without {scheme.end}- (ends a mention)")
            if letter not in ("O", scheme.single, "B" if same else scheme.first):
                repairs.append(NEEDLESS if opens else f"{letter}- without B- (starts a mention)")
            start = at
        last, current = letter, label
    return found, repairs


def tags_of(count: int, mentions: Iterable[Span], scheme: Scheme) -> list[str]:
    """The tags of some tokens; mentions are sorted and share no token."""
    tags = ["O"] * count
    before = (0, 0, "")
    for start, end, label in mentions:
        touches = before[1:] == (start, label)
        letters = ["B" if touches else scheme.first, *scheme.inside * (end - start - 1)]
        if scheme.end:
            letters[-1] = scheme.end if end - start > 1 else scheme.single
        tags[start:end] = [f"{letter}-{label}" for letter in letters]
        before = (start, end, label)
    return tags
