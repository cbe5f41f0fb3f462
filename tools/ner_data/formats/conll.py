"""CoNLL: words in columns, one per line, as in CoNLL-2003, MultiCoNER and the like.

A sample sentence::

    EU NNP B-NP B-ORG
    rejects VBZ B-VP O
    German JJ B-NP B-MISC
    call NN I-NP O

A line with a tab has its columns between tabs, another one between spaces; all lines of a sentence have the same
number of columns. ``words`` and ``column`` are the numbers of the columns with the words and with the tags, from 1 (0:
the last column). ``scheme`` is bio (IOB2), iob1 (as CoNLL-2003 was published), bioes, bmes or bmewo, see `_schemes`;
the brackets of OntoNotes and CoNLL-2012 (``(ORG*``) are not read.

``join`` is put between the words: by default (``auto``) a space between two that are both not Chinese or Japanese
where they meet, otherwise nothing; ``" "`` and ``""`` do so everywhere. If nearly all tokens are single characters,
``auto`` puts a space only between Latin words, as in `hf_datasets`, and counts it: not into ``2 0 1 4``.
A comment ``# text = …`` before the words is the text as it was, as in CoNLL-U: the words must make it up but for white
space.

Other lines before the words that start with ``#``, and are no words with tags, are comments: skipped and counted, like
``-DOCSTART-`` lines. Written are a ``# text``, and lines of a word, a tab and its tag; Chinese words of one character.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ner_common.errors import UserError, one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Format, Piece, Sample
from ner_data.formats._schemes import SCHEMES, Unclear, scheme_problem, split_tag, tags_of, wrong_tag
from ner_data.formats._tagged import (
    LONG,
    MARKER,
    POLICIES,
    Problem,
    Rows,
    check_ends,
    check_marks,
    labels_of,
    mentions,
    refusal,
    sentences,
    survey,
)
from ner_data.formats._words import SPACES, are_words
from ner_data.gold import Record
from ner_data.source import Source

OTHER = "words are not the text"
COMMENT = "comment lines (skipped)"
JOINS = ("auto", " ", "")
SINGLE = 0.9  # of the tokens of a file: more that have one character are no words
_TEXT = "# text = "
_KEY = re.compile(r"#\s*[\w.]+\s*=")
# Han, kana and bopomofo, their punctuation, and full-width forms: nothing is put next to them. Korean has spaces.
_CJK = re.compile(
    r"[\u2e80-\u312f\u31a0-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U0001b000-\U0003ffff]"
)
_COMBINING = r"[\u0300-\u036f\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]*"
_WORD = re.compile(rf"(?:{_CJK.pattern}|(?:(?!{_CJK.pattern})\w)+|\S){_COMBINING}")


@dataclass(frozen=True)
class Reader(Format):
    """See the module."""

    column: int = 0
    words: int = 1
    scheme: str = "bio"
    join: str = "auto"

    title = "CoNLL: words in columns (CoNLL-2003, MultiCoNER)"
    files = ".conll"
    nested = False
    unlabelled = False
    policies = (
        *POLICIES[:-1],
        "White space is what a comment `# text` says; a mention cannot start or end with it; no line breaks.",
    )
    variants = ({}, *({"scheme": name} for name in SCHEMES if name != "bio"))

    def __post_init__(self) -> None:
        if problem := scheme_problem(self.scheme):
            raise UserError(problem)
        if self.join not in JOINS:
            raise UserError(f"options: join must be auto, one space or empty, not {one_line(self.join)}")
        if self.column < 0 or self.words < 1 or self.column == self.words:
            raise UserError("options: column (from 1; 0: the last) and words (from 1) must be two columns")

    def pieces(self, source: Source) -> Iterator[Piece]:
        """The rows of each sentence, its text if a comment has it, and how many markers and other comments precede it.

        The last part: whether the tokens of the file are single characters.

        Raises:
            UserError: see `Source.lines`; or the tokens carry marks of a word segmentation; or the tags are BIO, but
                should not be.
        """
        single = self._check(source)
        skipped: list[str] = []
        for piece in sentences(source):
            rows, markers = piece.content
            kept, text = self._without_comments(rows)
            skipped += [MARKER] * markers + [COMMENT] * (len(rows) - len(kept) - bool(kept and text))
            if kept:
                yield Piece(kept[0][0], (kept, text, tuple(skipped), single))
                skipped = []

    def _check(self, source: Source) -> bool:
        """Refuse what `pieces` says; otherwise whether the tokens are single characters."""
        tags: Counter[str] = Counter()
        words: Counter[str] = Counter()
        rows = survey(source)
        for row, count in rows.items():
            columns = _columns(row)
            if len(columns) >= self._width and not self._is_comment(row, columns):
                tags[columns[self.column - 1]] += count
                words[columns[self.words - 1]] += count
        check_ends(source, tags, SCHEMES[self.scheme])
        if any(row.startswith(_TEXT) for row in rows):
            return False
        check_marks(source, words, lambda row: _columns(row)[self.words - 1 :][:1])
        single = sum(count for word, count in words.items() if len(word) == 1)
        return single > SINGLE * words.total()

    @property
    def _width(self) -> int:
        """How many columns there must be."""
        return max(2, self.words, self.column)

    def _without_comments(self, rows: Rows) -> tuple[Rows, str | None]:
        """The rows of a sentence that are no comments, and the text if a comment has it."""
        start = next((at for at, (_, row) in enumerate(rows) if not row.startswith("#")), len(rows))
        width = len(_columns(rows[start][1])) if start < len(rows) else 0
        text = None
        for at in range(start):
            row = rows[at][1]
            columns = _columns(row)
            if width in (0, len(columns)) and not self._is_comment(row, columns):
                return rows[at:], text
            if row.startswith(_TEXT):
                text = row.removeprefix(_TEXT)
        return rows[start:], text

    def _is_comment(self, row: str, columns: list[str]) -> bool:
        """Whether a row starts with ``#`` and is no word with its tag."""
        tagged = len(columns) >= self._width and split_tag(columns[self.column - 1])[0]
        return row.startswith("#") and (not tagged or bool(_KEY.match(row)))

    def parse(self, piece: Piece, gold: bool) -> Sample:
        rows, text, repairs, single = piece.content
        first = rows[0][0]
        words: list[str] = []
        tags: list[str] = []
        width = len(_columns(rows[0][1]))
        for number, row in rows:
            columns = _columns(row)
            if problem := self._problem(row, columns, width, gold):
                return self._bad(rows, number, problem)
            words.append(columns[self.words - 1])
            tags.append(columns[self.column - 1])
        if text is None:
            gaps = self._gaps(words, single)
            if not self.join or (single and self.join == "auto"):
                sides = zip(words, ["", *gaps], [*gaps, ""], strict=True)
                repairs += (LONG,) * sum(len(word) > 1 and not (one or other) for word, one, other in sides)
                repairs += (SPACES,) * sum(map(bool, gaps))
        try:
            text, starts = _joined(words, gaps) if text is None else (text, _placed(text, words))
            if not gold:
                return Sample(first, text, None, repairs=repairs)
            ends = [start + len(word) for start, word in zip(starts, words, strict=True)]
            entities, more = mentions(text, starts, ends, [*map(split_tag, tags)], SCHEMES[self.scheme])
        except Unclear as error:
            at, reason, message = error.args
            return self._bad(rows, rows[at][0], (reason, message))
        return Sample(first, text, entities, repairs=more + repairs)

    def _problem(self, row: str, columns: list[str], width: int, gold: bool) -> Problem | None:
        """Why a row cannot be read: (reason, message)."""
        if len(columns) < self._width:
            return "no tag", f"has {len(columns)} columns, not {self._width} or more: {one_line(row)}"
        if len(columns) != width:
            return "columns", f"has {len(columns)} columns, but the sentence starts with {width}: {one_line(row)}"
        word, tag = columns[self.words - 1], columns[self.column - 1]
        if not word or not tag:
            return "no tag", f"has no word or no tag: {one_line(row)}"
        if word.strip() not in ("", word):
            return "space around a word", f"has white space around the word {one_line(word)}; remove it"
        scheme = SCHEMES[self.scheme]
        if gold and split_tag(tag)[0] not in scheme.tags:
            return "unknown tag scheme", f"{wrong_tag(tag, scheme)}; see the options column and scheme"
        if "\ufeff" in row:
            return "byte-order mark", f"has a byte-order mark inside the file: {one_line(row)}; remove it"
        return None

    def _bad(self, rows: Rows, number: int, problem: Problem) -> Sample:
        tags = (columns[self.column - 1] for _, row in rows if len(columns := _columns(row)) >= max(2, self.column))
        return Sample(rows[0][0], "", None, (problem[0], f"line {number} {problem[1]}"), labels=labels_of(tags))

    def _gaps(self, words: list[str], single: bool) -> list[str]:
        """What is between the words of a sentence; ``single``: those of its file are single characters."""
        if self.join != "auto":
            return [self.join] * (len(words) - 1)
        if single:
            return [" " if are_words(one, other) else "" for one, other in pairwise(words)]
        return ["" if _CJK.match(one[-1]) or _CJK.match(other[0]) else " " for one, other in pairwise(words)]

    def refusal(self, record: Record) -> Problem | None:
        if problem := refusal(record):
            return problem
        if not record.text.strip():
            return "no text", "has no word"
        for entity in record.entities or ():
            if entity.text != entity.text.strip():
                return "space in a mention", f"{one_line(entity.text)} has white space at its edge, which is no word"
        return None

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        blank = ["_"] * self._width
        with write(target.with_name(f"{target.name}.conll")) as file:
            for record in records:
                places = _words(record)
                index = {start: at for at, (start, _) in enumerate(places)}
                after = {end: at + 1 for at, (_, end) in enumerate(places)}
                spans = [(index[e.start], after[e.end], e.label) for e in record.entities or ()]
                file.write(f"{_TEXT}{record.text}\n")
                for (start, end), tag in zip(places, tags_of(len(places), spans, SCHEMES[self.scheme]), strict=True):
                    row = blank.copy()
                    row[self.words - 1], row[self.column - 1] = record.text[start:end], tag
                    file.write("\t".join(row) + "\n")
                file.write("\n")


def _columns(row: str) -> list[str]:
    return row.split("\t") if "\t" in row else [column for column in row.split(" ") if column]


def _joined(words: list[str], gaps: list[str]) -> tuple[str, list[int]]:
    """The text of words with something between them, and where each one starts in it."""
    starts, at = [], 0
    for word, gap in zip(words, [*gaps, ""], strict=True):
        starts.append(at)
        at += len(word) + len(gap)
    return "".join(part for pair in zip(words, [*gaps, ""], strict=True) for part in pair), starts


def _placed(text: str, words: list[str]) -> list[int]:
    """Where each word starts in a text.

    Raises:
        Unclear: they do not make it up but for white space.
    """
    starts, at = [], 0
    for number, word in enumerate(words):
        while at < len(text) and text[at].isspace() and not text.startswith(word, at):
            at += 1
        if not text.startswith(word, at):
            there = one_line(text[at : at + len(word)])
            raise Unclear(number, OTHER, f"has {one_line(word)} where the text of the comment has {there}")
        starts.append(at)
        at += len(word)
    if rest := text[at:].strip():
        raise Unclear(
            len(words) - 1, OTHER, f"is the last word, but the text of the comment goes on: {one_line(rest)}"
        )
    return starts


def _words(record: Record) -> list[tuple[int, int]]:
    """Where the words of a text start and end; every mention starts and ends with one."""
    edges = sorted(
        {0, len(record.text)} | {edge for entity in record.entities or () for edge in (entity.start, entity.end)}
    )
    return [match.span() for start, end in pairwise(edges) for match in _WORD.finditer(record.text, start, end)]
