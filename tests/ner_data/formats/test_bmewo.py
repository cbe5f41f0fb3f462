"""BMEWO, a character per line."""

from pathlib import Path

from ner_data.formats import bmewo
from ner_data.gold import Entity
from raw_files import read

GOOD = "林 B-人\n小 M-人\n晓 E-人\n在 O\n京 W-地\n\n云 B-公司\n帆 E-公司\n北 B-公司\n京 E-公司\n".encode()

MALFORMED = [
    ("no tag", "甲 W-x\n乙\n".encode()),
    ("a separator without a tag", "甲 W-x\n乙 \n".encode()),
    ("BIO", "甲 B-x\n乙 I-x\n丙 O\n丁 B-x\n戊 I-x\n".encode()),
    ("a tag of BIOES or BMES", "甲 S-x\n".encode()),
    ("a tag of BIOES", "甲 B-x\n乙 I-x\n丙 E-x\n".encode()),
    ("a mention that goes on after its end", "甲 B-x\n乙 E-x\n丙 M-x\n丁 E-x\n".encode()),
    ("a label that changes inside a mention", "甲 B-x\n乙 E-y\n".encode()),
    ("a tag without a label", "甲 W-\n".encode()),
    ("several columns", "甲 NN W-x\n乙 NN O\n".encode()),
    ("the tag before the character", "W-x 甲\nO 乙\n".encode()),
    ("positions in words", "科0 W-x\n技1 O\n".encode()),
    ("UTF-16", "头 O\n晕 W-症\n".encode("utf-16")),
]


def test_mentions_of_one_two_and_more_characters_and_neighbours(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(GOOD)
    first, second = read(bmewo, tmp_path / "a.txt", gold=True)
    assert (first.text, first.entities) == ("林小晓在京", (Entity(0, 3, "人", "林小晓"), Entity(4, 5, "地", "京")))
    assert second.entities == (Entity(0, 2, "公司", "云帆"), Entity(2, 4, "公司", "北京"))


def test_s_names_the_schemes_that_it_belongs_to(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("甲 S-x\n\n乙 W-x\n", "utf-8")
    bad, good = read(bmewo, tmp_path / "a.txt", gold=True)
    assert good.problem is None
    assert bad.problem == (
        "unknown tag scheme",
        "line 1 has the tag 'S-x': S- belongs to BIOES or BMES; BMEWO has only B-label, M-label, E-label, W-label and O",
    )
