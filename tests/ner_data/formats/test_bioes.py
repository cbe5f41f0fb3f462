"""BIOES, a character per line."""

from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data.formats import bioes
from ner_data.gold import Entity
from raw_files import read

GOOD = "林 B-人\n小 I-人\n晓 E-人\n在 O\n京 S-地\n\n云 B-公司\n帆 E-公司\n北 B-公司\n京 E-公司\n".encode()

MALFORMED = [
    ("no tag", "甲 S-x\n乙\n".encode()),
    ("a separator without a tag", "甲 S-x\n乙 \n".encode()),
    ("a tag of BMES", "甲 B-x\n乙 M-x\n丙 E-x\n".encode()),
    ("a tag of BMEWO", "甲 W-x\n".encode()),
    ("tags of BILOU", "甲 B-x\n乙 L-x\n丙 U-x\n".encode()),
    ("BIO", "甲 B-x\n乙 I-x\n丙 O\n丁 B-x\n戊 I-x\n".encode()),
    ("a mention that goes on after its end", "甲 B-x\n乙 E-x\n丙 E-x\n".encode()),
    ("a mention inside a mention", "甲 B-x\n乙 S-x\n丙 E-x\n".encode()),
    ("a label that changes inside a mention", "甲 B-x\n乙 I-y\n丙 E-y\n".encode()),
    ("a tag without a label", "甲 S\n".encode()),
    ("several columns", "甲 NN S-x\n乙 NN O\n".encode()),
    ("the tag before the character", "S-x 甲\nO 乙\n".encode()),
    ("positions in words", "科0 S-x\n技1 O\n".encode()),
    ("Big5", "頭 O\n暈 S-症\n".encode("big5")),
    ("a NUL", "头 O\n\0 O\n".encode()),
]


def test_mentions_of_one_two_and_more_characters_and_neighbours(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(GOOD)
    first, second = read(bioes, tmp_path / "a.txt", gold=True)
    assert (first.text, first.entities) == ("林小晓在京", (Entity(0, 3, "人", "林小晓"), Entity(4, 5, "地", "京")))
    assert second.line == 7 and second.repairs == ()
    assert second.entities == (Entity(0, 2, "公司", "云帆"), Entity(2, 4, "公司", "北京"))


def test_bio_is_refused_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(dict(MALFORMED)["BIO"])
    with pytest.raises(UserError) as error:
        read(bioes, tmp_path / "a.txt", gold=True)
    assert "a.txt:1: 2 mentions start, but only 0 end with E- or S-; is this BIO instead of BIOES?" in str(error.value)


@pytest.mark.parametrize(
    ("name", "reason", "message"),
    [
        (
            "a tag of BMES",
            "unknown tag scheme",
            "line 2 has the tag 'M-x': M- belongs to BMES or BMEWO; BIOES has only B-label, I-label, E-label, S-label and O",
        ),
        (
            "tags of BILOU",
            "unknown tag scheme",
            "line 2 has the tag 'L-x': BILOU is not read, write E- for L- and S- for U-; BIOES has only B-label, "
            "I-label, E-label, S-label and O",
        ),
        (
            "a mention that goes on after its end",
            "broken mention",
            "line 3 has 'E-x' after 'E-x': does the mention go on, or start again? correct one of the two tags",
        ),
        (
            "a label that changes inside a mention",
            "broken mention",
            "line 2 has 'I-y' after 'B-x': the label changes inside a mention; correct one of the two tags",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, reason: str, message: str) -> None:
    ends = "\n乙 S-z" * 9  # enough good mentions for the file as a whole
    (tmp_path / "a.txt").write_bytes(dict(MALFORMED)[name] + f"\n{ends}\n".encode())
    (sample,) = (sample for sample in read(bioes, tmp_path / "a.txt", gold=True) if sample.problem)
    assert sample.problem == (reason, message)
    assert sample.labels >= {"x"}
