"""Sentences in one file and their tags in another, as MSRA's and People's Daily's corpora are published.

A sample line of each, the characters between spaces or not (``林晓在京``)::

    林 晓 在 京
    B-name I-name O B-place

The second file is ``tags:`` of the split. Line by line, the number of tags says what the spaces in a sentence are: its
characters are every second one if all others are spaces, or what is between spaces, or all of its characters. Tags are
read in any notation (``B_PER``), in the ``scheme`` bio (default), iob1, bioes, bmes or bmewo: see `_schemes`. Between
spaces may be words too, which become a text without spaces, and are counted; Latin ones are refused. Lines that are
blank in both files are skipped. A split without gold needs no second file.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, chain, islice, pairwise, zip_longest
from pathlib import Path

from ner_common.errors import UserError, one_line, rooted
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Format, Piece, Sample
from ner_data.formats._schemes import SCHEMES, Unclear, scheme_problem, split_tag, tags_of, wrong_tag
from ner_data.formats._tagged import (
    LONG,
    POLICIES,
    Problem,
    check_ends,
    check_marks,
    joined,
    labels_of,
    mentions,
    refusal,
)
from ner_data.gold import Record
from ner_data.source import Source

SURVEYED = 20_000  # lines that tell what kind of file it is
_SPACES = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class Reader(Format):
    """See the module."""

    scheme: str = "bio"

    title = "sentences and their tags in two files (MSRA)"
    files = ".txt, .tags"
    nested = False
    unlabelled = False
    variants = ({}, *({"scheme": name} for name in SCHEMES if name != "bio"))
    policies = POLICIES

    def __post_init__(self) -> None:
        if problem := scheme_problem(self.scheme):
            raise UserError(problem)

    def pieces(self, source: Source) -> Iterator[Piece]:
        """The two lines of each sentence.

        Raises:
            UserError: see `Source.lines`; one file has more lines; the characters carry marks of a word segmentation;
                or the tags are BIO, but should not be.
        """
        check_marks(source, _counts(source), _parts)
        if source.tags is None:
            yield from (Piece(number, (line, None)) for number, line in source.lines() if line.strip(" \t"))
            return
        tagged = source.beside(source.tags)
        check_ends(tagged, _counts(tagged), SCHEMES[self.scheme])
        for one, other in zip_longest(source.lines(), tagged.lines()):
            number, line = one or (other[0], "")
            tags = other[1] if other else ""
            if not (line.strip(" \t") or tags.strip(" \t")):
                continue
            if one is None:
                raise tagged.wrong(number, f"tags without a sentence: {rooted(source.path)} has {number - 1} lines")
            if other is None:
                raise source.wrong(number, f"a sentence without tags: {rooted(tagged.path)} has {number - 1} lines")
            yield Piece(number, (line, tags))

    def parse(self, piece: Piece, gold: bool) -> Sample:
        line, row = piece.content
        tags = None if row is None else _parts(row)
        tokens = _tokens(line, None if tags is None else len(tags))
        problem = self._problem(line, tokens, tags, gold)
        if problem or tokens is None:
            return Sample(piece.line, "", None, problem, labels=labels_of(tags or ()))
        text = "".join(tokens)
        repairs = (LONG,) * sum(len(token) > 1 for token in tokens)
        if not gold or tags is None:
            return Sample(piece.line, text, None, repairs=repairs)
        edges = [0, *accumulate(map(len, tokens))]
        try:
            entities, more = mentions(text, edges, edges[1:], [*map(split_tag, tags)], SCHEMES[self.scheme])
        except Unclear as error:
            at, reason, message = error.args
            problem = (reason, f"tag {at + 1} of {len(tags)} {message}")
            return Sample(piece.line, "", None, problem, labels=labels_of(tags))
        return Sample(piece.line, text, entities, repairs=more + repairs)

    def _problem(self, line: str, tokens: list[str] | None, tags: list[str] | None, gold: bool) -> Problem | None:
        """Why a sentence cannot be read: (reason, message)."""
        if gold and tags is None:
            return "no tags", "the split has no file of tags; name it with `tags:` in the description of the corpus"
        if tokens is None and tags is None:
            message = "has spaces, but not between all characters, and no tags that tell what they are"
            return "spaces", f"{message}: {one_line(line)}"
        if tokens is None:
            parts, characters = len(_parts(line)), len(line)
            message = f"has {len(tags or ())} tags for {parts} parts between spaces, or {characters} characters"
            return "number of tags", f"{message}: {one_line(line)}"
        scheme = SCHEMES[self.scheme]
        for tag in tags or () if gold else ():
            if split_tag(tag)[0] not in scheme.tags:
                return "unknown tag scheme", f"{wrong_tag(tag, scheme)}; see the option scheme"
        if "\ufeff" in line:
            return "byte-order mark", f"has a byte-order mark inside the file: {one_line(line)}; remove it"
        return next(filter(None, (joined(before, token) for before, token in pairwise(tokens or ()))), None)

    def refusal(self, record: Record) -> Problem | None:
        return refusal(record) or (None if record.text.strip() else ("no text", "has only white space"))

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        with (
            write(target.with_name(f"{target.name}.txt")) as sentences,
            write(target.with_name(f"{target.name}.tags")) as tagged,
        ):
            for record in records:
                spans = ((entity.start, entity.end, entity.label) for entity in record.entities or ())
                sentences.write(" ".join(record.text) + "\n")
                tagged.write(" ".join(tags_of(len(record.text), spans, SCHEMES[self.scheme])) + "\n")


def _counts(source: Source) -> Counter[str]:
    """What is between spaces in the first lines of a file, and how often."""
    lines = islice(replace(source, tick=lambda _: None).lines(), SURVEYED)
    return Counter(chain.from_iterable(_parts(line) for _, line in lines))


def _parts(line: str) -> list[str]:
    return [part for part in _SPACES.split(line) if part]


def _spread(line: str) -> list[str] | None:
    """Every second character, if all others are spaces."""
    return list(line[::2]) if len(line) % 2 and not line[1::2].strip(" \t") else None


def _tokens(line: str, count: int | None) -> list[str] | None:
    """The tokens of a sentence, given how many there are if that is known; None if it has no such tokens."""
    bare = line.strip(" \t")
    if count is None:
        return _spread(bare) or (None if _SPACES.search(bare) else list(bare))
    for tokens in (_spread(line), _parts(line), list(line), list(bare)):
        if tokens and len(tokens) == count:
            return tokens
    return None
