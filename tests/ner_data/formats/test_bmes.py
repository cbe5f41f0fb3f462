"""BMES, a character per line, as in ResumeNER."""

from collections import Counter
from pathlib import Path

import pytest

from ner_data.formats import bmes
from ner_data.gold import Entity
from raw_files import read

GOOD = "林 B-人\n小 M-人\n晓 E-人\n在 O\n京 S-地\n\n云 B-公司\n帆 E-公司\n北 B-公司\n京 E-公司\n".encode()

MALFORMED = [
    ("no tag", "甲 S-x\n乙\n".encode()),
    ("a separator without a tag", "甲 S-x\n乙 \n".encode()),
    ("BIO", "甲 B-x\n乙 I-x\n丙 O\n丁 B-x\n戊 I-x\n".encode()),
    ("BIO of mentions of one character", "甲 B-x\n乙 O\n丙 B-x\n".encode()),
    ("a tag of BIOES", "甲 B-x\n乙 I-x\n丙 E-x\n".encode()),
    ("a tag of BMEWO", "甲 W-x\n".encode()),
    ("a mention that goes on after its end", "甲 B-x\n乙 E-x\n丙 M-x\n丁 E-x\n".encode()),
    ("a mention that starts inside a mention", "甲 B-x\n乙 B-x\n丙 E-x\n".encode()),
    ("a label that changes inside a mention", "甲 B-x\n乙 M-y\n丙 E-y\n".encode()),
    ("the letters of a word segmentation", "甲 B\n乙 E\n丙 S\n".encode()),
    ("the marks of a word segmentation", "甲B S-x\n乙E O\n丙B O\n丁E O\n".encode()),
    ("several columns", "甲 NN S-x\n乙 NN O\n".encode()),
    ("the tag before the character", "S-x 甲\nO 乙\n".encode()),
    ("GBK", "头 O\n晕 S-症\n".encode("gbk")),
]


def test_mentions_of_one_two_and_more_characters_and_neighbours(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(GOOD)
    first, second = read(bmes, tmp_path / "a.txt", gold=True)
    assert (first.text, first.entities) == ("林小晓在京", (Entity(0, 3, "人", "林小晓"), Entity(4, 5, "地", "京")))
    assert second.entities == (Entity(0, 2, "公司", "云帆"), Entity(2, 4, "公司", "北京"))


def test_a_mention_that_lacks_a_mark_at_its_edge_is_read_and_counted(tmp_path: Path) -> None:
    """As two sentences of ResumeNER that were cut inside a mention."""
    rows = "京 B-x\n。 M-x\n\n彼 M-x\n得 E-x\n院 B-y\n士 E-y\n\n甲 B-x\n乙 O\n\n甲 E-x\n\n甲 M-x\n乙 S-y\n"
    (tmp_path / "a.txt").write_text(rows, "utf-8")
    samples = read(bmes, tmp_path / "a.txt", gold=True)
    assert [[(e.label, e.text) for e in sample.entities or ()] for sample in samples] == [
        [("x", "京。")], [("x", "彼得"), ("y", "院士")], [("x", "甲")], [("x", "甲")], [("x", "甲"), ("y", "乙")],
    ]  # fmt: skip
    assert [sample.repairs for sample in samples] == [
        ("M- without E- (ends a mention)",),
        ("M- without B- (starts a mention)",),
        ("B- without E- (ends a mention)",),
        ("E- without B- (starts a mention)",),
        ("M- without B- (starts a mention)", "M- without E- (ends a mention)"),
    ]


# Records, and mentions per label as the README of ../shared/data and a count of B- and S- tags give them.
RESUME = {"train": 3821, "dev": 463, "test": 477}


@pytest.mark.parametrize("split", RESUME)
def test_resume(shared: Path, split: str) -> None:
    path = shared / f"data/resume/{split}.char.bmes"
    samples = read(bmes, path, gold=True)
    assert len(samples) == RESUME[split]
    assert not [sample.problem for sample in samples if sample.problem]
    found = Counter(entity.label for sample in samples for entity in sample.entities or ())
    starts = Counter(line[4:] for line in path.read_text("utf-8").split("\n") if line[2:4] in ("B-", "S-"))
    repairs = Counter(repair for sample in samples for repair in sample.repairs)
    if split == "train":  # two sentences were cut inside a mention: each half is one
        starts["ORG"] += 2
        assert repairs == {"M- without E- (ends a mention)": 2, "M- without B- (starts a mention)": 2}
    else:
        assert not repairs
    assert found == starts
    text = "".join(line[0] for line in path.read_text("utf-8").split("\n") if line)
    assert "".join(sample.text for sample in samples) == text
