"""Corpus formats: what they read, what they refuse by line, reason and remedy, and how one is added."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data import formats, read_gold
from ner_data.formats import bio, cluener
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


@pytest.mark.parametrize("separator", [" ", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_bio_reads_both_separators_and_both_line_ends(tmp_path: Path, separator: str, newline: str) -> None:
    rows = ["头 O", "晕 B-症", "痛 I-症", "", "药 B-药"]
    text = newline.join(row.replace(" ", separator) for row in rows)  # no newline at the end, as in the TCM files
    first, second = read(bio, write(tmp_path / "a.txt", text), gold=True)
    assert (first.text, first.entities) == ("头晕痛", (Entity(1, 3, "症", "晕痛"),))
    assert (second.line, second.entities) == (5, (Entity(0, 1, "药", "药"),))


def test_bio_space_characters_count_as_characters(tmp_path: Path) -> None:
    (sample,) = read(bio, write(tmp_path / "a.txt", "甲 B-x\n\u3000 I-x\n  I-x\n乙 I-x\n"), gold=True)
    assert sample.text == "甲\u3000 乙"
    assert sample.entities == (Entity(0, 4, "x", "甲\u3000 乙"),)


def test_bio_neighbours_of_one_label_stay_apart(tmp_path: Path) -> None:
    (sample,) = read(bio, write(tmp_path / "a.txt", "甲 B-x\n乙 B-x\n丙 I-x\n"), gold=True)
    assert [e.text for e in sample.entities or ()] == ["甲", "乙丙"]


def test_bio_i_without_b_starts_a_mention_and_is_counted(tmp_path: Path) -> None:
    (sample,) = read(bio, write(tmp_path / "a.txt", "甲 I-x\n乙 I-x\n丙 I-y\n丁 O\n戊 I-y\n"), gold=True)
    assert [(e.label, e.text) for e in sample.entities or ()] == [("x", "甲乙"), ("y", "丙"), ("y", "戊")]
    assert sample.repairs == (bio.ORPHAN,) * 3


@pytest.mark.parametrize(
    ("text", "reason", "part"),
    [
        ("甲 O\n乙\n", "no tag", "line 2"),
        ("甲 O\n乙 \n", "no tag", "line 2"),
        ("甲 S-x\n", "unknown tag scheme", "'S-x'"),
        ("甲 B-\n", "unknown tag scheme", "'B-'"),
        ("EU NNP B-NP B-x\n", "too many columns", "'EU NNP B-NP B-x'"),
        ("甲 B-x O\n", "too many columns", "'甲 B-x O'"),
        ("甲 O 乙 O\n", "too many columns", "'甲 O 乙 O'"),
        ("甲 \tO\n", "too many columns", "write `char SPACE tag`"),
        ("B-x O\n", "tag in the first column", "'B-x O'"),
        ("甲 O\n\ufeff乙 O\n", "byte-order mark", "line 2"),
        ("EU B-x\nrejects O\n", "words", "line 2 has 'rejects' after 'EU'"),
        ("A O\nCT B-x\n", "words", "line 2 has 'CT' after 'A'"),
        ("甲 O\n\n科0 O\n技1 O\n\n乙 O\n丙 O\n丁 O\n", "positions in words", "'科0 O'"),
    ],
)
def test_bio_names_what_is_wrong(tmp_path: Path, text: str, reason: str, part: str) -> None:
    (sample,) = (
        s for s in read(bio, write(tmp_path / "a.txt", text), gold=True) if s.text != "甲" and s.text != "乙丙丁"
    )
    assert sample.problem is not None
    assert sample.problem[0] == reason
    assert part in sample.problem[1]


@pytest.mark.parametrize(
    "rows",
    [
        ["科0\tO", "技1\tO", "全0\tO", "方1\tO", "位2\tO"],
        [f"字{number}\tO" for number in range(12)],  # two digits
        ["😀\ufe0f0\tO", "10\tO", "21\tO", "\u3000\u30002\tO"],  # characters of two, and digits
    ],
)
@pytest.mark.parametrize("gold", [True, False])
def test_bio_with_positions_in_words_is_refused_as_a_file(tmp_path: Path, rows: list[str], gold: bool) -> None:
    path = write(tmp_path / "weibo.txt", "\n".join([*rows, "", *rows, ""]))
    with pytest.raises(
        UserError, match=r"weibo\.txt:1: the tokens carry their positions in words.*remove these digits"
    ):
        list(read(bio, path, gold))


def test_bio_with_line_ends_of_another_kind_is_refused_as_a_file(tmp_path: Path) -> None:
    for text in ("甲 O\r乙 B-x\r\r丙 O\r", "甲 O\r\r\n乙 O\r\r\n", "甲 O\n乙 O\r丙 O\n"):
        with pytest.raises(UserError, match=r"a\.txt:\d: a carriage return inside the line; convert .* to LF"):
            list(read(bio, write(tmp_path / "a.txt", text), True))


def test_bio_tokens_of_several_characters_are_text_and_counted(tmp_path: Path) -> None:
    text = "2020 O\n年 O\n做 O\nCT B-x\n检 I-x\n查 I-x\n10 O\n次 O\n"
    (sample,) = read(bio, write(tmp_path / "a.txt", text), gold=True)
    assert (sample.text, sample.entities) == ("2020年做CT检查10次", (Entity(6, 10, "x", "CT检查"),))
    assert sample.repairs == (bio.LONG,) * 3


def test_bio_document_markers_are_skipped_and_counted(tmp_path: Path) -> None:
    text = "-DOCSTART- O\n\n甲\n\n-DOCSTART- -X- -X- O\n\n乙 B-x\n-DOCSTART-\n丙 I-x\n\n丁 O\n-DOCSTART-\tO\n"
    bad, *good = read(bio, write(tmp_path / "a.txt", text), gold=True)
    assert bad.problem and bad.problem[0] == "no tag"
    assert [sample.text for sample in good] == ["乙", "丙", "丁"]
    assert [sample.repairs for sample in good] == [(bio.MARKER,), (bio.ORPHAN, bio.MARKER), ()]
    (sample,) = read(bio, write(tmp_path / "a.txt", "-DOCSTART- B-x\n"), gold=True)  # no marker: a mention
    assert sample.text == "-DOCSTART-" and sample.entities


def test_bio_without_gold_whose_tags_come_first_is_refused(tmp_path: Path) -> None:
    (sample,) = read(bio, write(tmp_path / "a.txt", "O 甲\nO 乙\n"), gold=False)
    assert sample.problem and sample.problem[0] == "tag in the first column"
    (sample,) = read(bio, write(tmp_path / "a.txt", "O -\n型 -\n"), gold=False)
    assert (sample.text, sample.problem) == ("O型", None)


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
