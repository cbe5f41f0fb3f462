"""`ner-data check` finds what ../shared/data/README.md states about the real corpora."""

import json
from collections.abc import Callable
from pathlib import Path

from ner_data import convert
from ner_data.checking import check
from support import Result

Cli = Callable[..., Result]
TCM = {
    "临床表现": (3068, 369, 375), "中药": (2786, 429, 262), "西医诊断": (2444, 308, 330), "中医证候": (1170, 136, 158),
    "中医治疗": (1081, 111, 133), "方剂": (1012, 120, 111), "西医治疗": (465, 44, 53), "中医治则": (297, 53, 47),
    "中医诊断": (246, 42, 48), "其他治疗": (65, 8, 12),
}  # fmt: skip


def test_tcm(workplace: Path, shared: Path, cli: Cli) -> None:
    convert("tcm", raw=shared / "data/tcm")
    report = check("tcm")
    splits, found = list(report.splits.values()), report.found
    assert [one.records for one in splits] == [5259, 657, 658]
    for label, counts in TCM.items():
        assert tuple(one.labels[label] for one in splits) == counts
    assert [one.same for one in splits] == [168, 14, 18]
    assert [one.empty for one in splits] == [0, 0, 0] and found["negatives"].count == 1
    assert all(one.wide and not one.narrow for one in splits)
    assert found["characters"].figures["train"] == {"U+3000 IDEOGRAPHIC SPACE": 33}
    assert found["duplicates"].figures == {
        "train": {"texts": 43, "copies": 58, "conflicting": 13},
        "dev": {"texts": 2, "copies": 2, "conflicting": 1},
    }
    assert found["leakage"].figures == {
        "train/dev": {"texts": 9, "train": 18, "dev": 11, "conflicting": 2},
        "train/test": {"texts": 9, "train": 14, "test": 9, "conflicting": 3},
        "dev/test": {"texts": 1, "dev": 2, "test": 1, "conflicting": 0},
    }
    assert (report.texts, found["conflicts"].count) == (6496, 15)
    assert [one.what for one in found["rare"].findings] == ["其他治疗"]
    assert {name for name, one in found.items() if not one.count} == {
        "boundaries", "half-words", "overlaps", "drift", "long",
    }  # fmt: skip

    raw = (shared / "data/tcm/medical_train.txt").read_text("utf-8").split("\n")
    for finding in found["duplicates"].findings:
        for place in finding.places:
            if place.split == "train":  # the line is where the sentence starts
                line = int(place.source.removeprefix("medical_train.txt:"))
                assert "".join(row[0] for row in raw[line - 1 : line - 1 + len(place.text)]) == place.text

    printed = cli("ner-data", "check", "tcm", "--json", "-")
    assert printed.code == 0
    told = json.loads(printed.out)
    assert told["found"]["leakage"]["figures"] == found["leakage"].figures
    assert told["splits"]["train"]["labels"] == dict(report.splits["train"].labels)
    shown = cli("ner-data", "check", "tcm").out
    assert "train repeats 43 texts (58 extra copies, 13 with different mentions)" in shown
    assert "train and dev share 9 texts (18 records of train, 11 of dev; 2 with different mentions)" in shown
    assert cli("ner-data", "check", "tcm", "--no-near", "--strict", "boundaries,drift").code == 0
    failed = cli("ner-data", "check", "tcm", "--no-near", "--strict", "drift,leakage")
    assert (failed.code, failed.err) == (1, "ner-data: --strict: found leakage 17\n")


def test_cluener(workplace: Path, shared: Path) -> None:
    convert("cluener", raw=shared / "data/cluener")
    report = check("cluener")
    train, dev, test = report.splits.values()
    assert (train.mentions, dev.mentions, test.mentions) == (23971, 3072, 0)
    assert test.unlabelled == test.records == 1345
    assert (train.touching, train.same, train.empty) == (2457, 319, 0)
    assert (train.again, dev.again, test.again) == (166, 16, 0)
    assert (min(train.lengths), max(train.lengths)) == (2, 50)
    assert [report.found[name].count for name in ("duplicates", "leakage", "conflicts")] == [0, 0, 0]
    assert [place.source for one in report.found["overlaps"].findings for place in one.places] == ["train.json:1507"]
    assert report.texts == 10748 + 1343 + 1345
