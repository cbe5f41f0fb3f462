"""BIO, a character per line: what is read, repaired and refused."""

from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data.formats import bio
from ner_data.gold import Entity
from raw_files import read

GOOD = "头 O\n晕 B-症\n\n林 B-人\n晓 I-人\n云 B-公司\n".encode()

MALFORMED = [
    ("no tag", "甲 O\n乙\n".encode()),
    ("a separator without a tag", "甲 O\n乙 \n".encode()),
    ("no character", "甲 O\n\tO\n".encode()),
    ("a tag of BIOES or BMES", "甲 S-x\n".encode()),
    ("a tag of BMES", "甲 B-x\n乙 M-x\n丙 E-x\n".encode()),
    ("a tag without a label", "甲 B-\n".encode()),
    ("the digit 0 instead of the letter O", "甲 0\n乙 B-x\n".encode()),
    ("a colon in the tag", "甲 B:x\n".encode()),
    ("several columns, as in CoNLL", b"EU NNP B-NP B-x\n"),
    ("a second tag", "甲 B-x O\n".encode()),
    ("two characters on a line", "甲 O 乙 O\n".encode()),
    ("a space and a tab", "甲 \tO\n".encode()),
    ("the tag before the character", "O 甲\nB-x 乙\n".encode()),
    ("words with a space between them", b"EU B-x\nrejects O\n"),
    ("positions in words", "科0 O\n技1 O\n".encode()),
    ("a byte-order mark inside the file", "甲 O\n\ufeff乙 O\n".encode()),
    ("lines that end in CR", "甲 O\r乙 B-x\r".encode()),
    ("GBK", "头 O\n晕 B-症\n".encode("gbk")),
    ("UTF-16", "头 O\n晕 B-症\n".encode("utf-16")),
    ("no line at all", b""),
    ("blank lines only", b"\n \n\n"),
]


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


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
        ("甲 O\n\tO\n", "no character", "line 2 has no character before its tag: '\\tO'; write"),
        ("甲 O\n B-x\n", "no character", "line 2 has no character before its tag: ' B-x'; write"),
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


@pytest.mark.parametrize("token", ["F-16", "A-股", "T-80", "X-光"])
def test_bio_tokens_that_are_no_tags_of_a_scheme_are_text(tmp_path: Path, token: str) -> None:
    (sample,) = read(bio, write(tmp_path / "a.txt", f"买 O\n{token} O\n林 B-x\n"), gold=True)
    assert (sample.problem, sample.text) == (None, f"买{token}林")


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
