"""Corpus formats: what they read, what they refuse by line, reason and remedy, and how one is added."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ner_data import formats, read_gold
from ner_data.formats import cluener
from ner_data.gold import Entity
from raw_files import read
from support import Result, one_line_error

CLUENER_LINE = (
    '{"text": "林晓在云帆科技任经理", "label": {"name": {"林晓": [[0, 1]]}, "company": {"云帆科技": [[3, 6]]}}}\n'
)


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_cluener_offsets_become_half_open(tmp_path: Path) -> None:
    (sample,) = read(cluener, write(tmp_path / "a.json", CLUENER_LINE), gold=True)
    assert sample.entities == (Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技"))
    assert sample.problem is None


def test_cluener_keeps_repeated_nested_and_touching_mentions(tmp_path: Path) -> None:
    line = '{"text": "甲乙甲乙", "label": {"book": {"甲乙甲": [[0, 2]]}, "name": {"甲": [[0, 0], [2, 2]], "乙": [[1, 1]]}}}'
    (sample,) = read(cluener, write(tmp_path / "a.json", line), gold=True)
    assert [(e.start, e.end, e.label) for e in sample.entities or ()] == [
        (0, 1, "name"),
        (0, 3, "book"),
        (1, 2, "name"),
        (2, 3, "name"),
    ]


def test_cluener_line_separator_characters_stay_inside_a_string(tmp_path: Path) -> None:
    (sample,) = read(cluener, write(tmp_path / "a.json", '{"text": "甲\u2028乙\u0085丙", "label": {}}'), gold=True)
    assert sample.text == "甲\u2028乙\u0085丙"


@pytest.mark.parametrize(
    ("line", "reason", "part"),
    [
        ('{"text": "甲乙"', "malformed JSON", "not JSON"),
        ("[" * 100_000, "malformed JSON", "not JSON"),
        ('{"label": {}}', "no text", "text"),
        ('{"text": "  ", "label": {}}', "no text", "text"),
        ('{"text": "甲乙"}', "malformed label", "gold: false"),
        ('{"text": "甲乙", "label": []}', "malformed label", "label"),
        ('{"text": "甲乙", "label": {"name": {"甲": [["0", "0"]]}}}', "malformed label", "label"),
        ('{"text": "甲乙", "label": {"name": {"甲": [[0, 0.0]]}}}', "malformed label", "label"),
        ('{"text": "甲乙", "label": {"name": {"甲": [[false, 0]]}}}', "malformed label", "label"),
        ('{"text": "甲乙", "label": {"name": {"甲": [[0, 0, 1]]}}}', "malformed label", "label"),
        ('{"text": "甲乙", "id": true, "label": {}}', "malformed id", "the id True is neither"),
        ('{"text": "甲乙", "id": ' + "1" * 5000 + ', "label": {}}', "malformed JSON", "not JSON"),
        ('{"text": "甲乙", "x": ' + "[" * 99 + "]" * 99 + ', "label": {}}', "malformed JSON", "not JSON"),
        ('{"text": "甲\\ud800", "label": {}}', "lone surrogate", "is no character"),
        ('{"text": "甲乙", "label": {"name": {"甲\\udc00": []}}}', "lone surrogate", "is no character"),
        ('{"text": "甲", "text": "乙", "label": {}}', "duplicate key", "more than once"),
        ('{"text": "甲甲", "label": {"name": {"甲": [[0, 0]], "甲": [[1, 1]]}}}', "duplicate key", "more than once"),
        (
            '{"text": "甲乙", "label": {"name": {"丙": [[0, 0]]}}}',
            "offsets do not match",
            "'丙' at [0, 0], but the text has '甲'",
        ),
        ('{"text": "甲乙", "label": {"name": {"乙": [[1, 2]]}}}', "offsets out of range", "2 characters"),
        ('{"text": "甲乙", "label": {"name": {"甲": [[-1, 0]]}}}', "offsets out of range", "2 characters"),
        ('{"text": "甲乙", "label": {"name": {"甲": [[1, 0]]}}}', "reversed offsets", "after the end"),
    ],
)
def test_cluener_names_what_is_wrong(tmp_path: Path, line: str, reason: str, part: str) -> None:
    (sample,) = read(cluener, write(tmp_path / "a.json", line), gold=True)
    assert sample.problem is not None
    assert sample.problem[0] == reason
    assert part in sample.problem[1]


SLASHES = '''"""Words with their labels, one sentence per line.

A sample line::

    林晓/name 在 云帆科技/company
"""
from dataclasses import dataclass

from ner_data.formats import Format, Piece, Sample
from ner_data.gold import Entity


@dataclass(frozen=True)
class Reader(Format):
    separator: str = "/"

    title = "words with their labels"
    files = ".txt"
    nested = False

    def pieces(self, source):
        return (Piece(number, line) for number, line in source.lines())

    def parse(self, piece, gold):
        text, entities = "", []
        for word, _, label in (part.partition(self.separator) for part in piece.content.split()):
            if label:
                entities.append(Entity(len(text), len(text) + len(word), label, word))
            text += word
        return Sample(piece.line, text, tuple(entities) if gold else None)
'''


def describe(format_name: str) -> None:
    """Make `my` a corpus of this format, with one raw file."""
    Path("data/corpora/my.yaml").write_text(
        f"{{name: my, title: Mine, source: here, licence: CC0, format: {format_name}, "
        "splits: {train: {file: a.txt}}, labels: {name: {name: 姓名}, company: {name: 公司}}}",
        encoding="utf-8",
    )
    Path("a.txt").write_text("林晓/name 在 云帆科技/company\n没有 人\n", encoding="utf-8")


def test_a_format_is_added_as_one_file(
    workplace: Path, cli: Callable[..., Result], add_module: Callable[..., Path]
) -> None:
    describe("slashes")
    command = ("ner-data", "convert", "my", "--raw", ".")
    assert "unknown format 'slashes'; known: alpaca, bio, " in one_line_error(cli(*command))
    add_module(formats, "slashes", SLASHES)
    result = cli(*command)
    assert result.code == 0, result.err
    first, second = read_gold(Path("data/gold/my/train.jsonl"))
    assert first.entities == (Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技"))
    assert (second.text, second.entities) == ("没有人", ())


def test_a_format_without_a_reader_is_named(
    workplace: Path, cli: Callable[..., Result], add_module: Callable[..., Path]
) -> None:
    describe("empty")
    add_module(formats, "empty", "")
    message = one_line_error(cli("ner-data", "convert", "my", "--raw", "."))
    assert "empty.py: a format needs a class Reader that derives from Format; see ner_data.formats.bio" in message
