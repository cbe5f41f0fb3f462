"""Each class of findings on small corpora, to the line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data.checking import check
from ner_data.checking.distributions import by_chance, divergence
from ner_data.checking.report import Report
from ner_data.checking.surfaces import one_sided
from ner_data.gold import pieces

Gold = Callable[..., Path]


def told(report: Report, name: str) -> list[tuple[str, str, list[str]]]:
    """The findings of a class: what, detail, and the sources."""
    found = report.found[name]
    assert found.count == len(found.findings)
    return [(one.what, one.detail, [place.source for place in one.places]) for one in found.findings]


def test_nothing_is_found_in_a_clean_corpus(gold: Gold) -> None:
    texts = [f"第{n}句说的是[a:甲{chr(0x4E00 + n)}]和[b:乙{chr(0x5E00 + n)}]。" for n in range(60)]
    gold(train=[*texts, "这里什么也没有"], dev=[f"话里{text}" for text in texts[:15]])
    report = check("tiny", near=False)
    assert {name: one.count for name, one in report.found.items() if one.count} == {}
    assert report.found["long"].skipped == "needs --tokenizer DIR and --cutoff N"
    assert report.found["near-duplicates"].skipped == "not wanted (--no-near)"


def test_copies(gold: Gold) -> None:
    gold(
        train=["[a:林晓]来了", "[a:林晓]来了", "林晓来了", "[b:北京]到了", "[a:周明]走了", "[b:上海]很远"],
        dev=["[a:北京]到了", "[a:周明]走了"],
    )
    report = check("tiny")
    different = [
        ("林晓来了", "3 times in train with different mentions", ["train.raw:1", "train.raw:2", "train.raw:3"])
    ]
    assert told(report, "duplicates") == different
    assert told(report, "leakage") == [
        ("北京到了", "records: train 1, dev 1; with different mentions", ["train.raw:4", "dev.raw:1"]),
        ("周明走了", "records: train 1, dev 1", ["train.raw:5", "dev.raw:2"]),
    ]
    versions = {
        one.what: [(place.source, place.note) for place in one.places] for one in report.found["conflicts"].findings
    }
    assert versions == {
        "林晓来了": [("train.raw:1", "林晓 a"), ("train.raw:3", "nothing more")],
        "北京到了": [("train.raw:4", "北京 b"), ("dev.raw:1", "北京 a")],
    }
    assert report.texts == 4


def test_a_split_without_gold_leaks_but_does_not_conflict(gold: Gold) -> None:
    folder = gold(train=["[a:林晓]来了"])
    line = {"id": "dev-1", "text": "林晓来了", "entities": None, "source": "dev.raw:1"}
    (folder / "dev.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    report = check("tiny")
    assert (report.found["leakage"].count, report.found["conflicts"].count) == (1, 0)
    assert report.splits["dev"].unlabelled == 1 and report.splits["dev"].empty == 0


def test_near_duplicates_inside_and_across_splits(gold: Gold) -> None:
    base = "今天上午九点三十分，公司在总部大楼召开了年度工作会议，会议由总经理主持"
    other = "患者于三天前受凉后出现咳嗽咳痰，伴有低热，自服感冒药后症状没有明显好转"
    gold(
        train=[base, base.replace("九", "十"), f"{other}。", "完全不同的另一句话"],
        dev=[base.replace("总部", "分部"), other],
    )
    report = check("tiny")
    found = report.found["near-duplicates"]
    assert found.figures == {"groups": 2, "texts": 5, "across": 2, "threshold": 0.7}
    groups = {frozenset(sources) for _, _, sources in told(report, "near-duplicates")}
    assert groups == {frozenset({"train.raw:1", "train.raw:2", "dev.raw:1"}), frozenset({"train.raw:3", "dev.raw:2"})}
    assert all(detail.endswith("in train and dev") for _, detail, _ in told(report, "near-duplicates"))


def test_a_template_with_many_copies_is_one_group(gold: Gold) -> None:
    texts = [
        f"尊敬的客户您好，您尾号{n:04d}的账户于今日发生一笔消费，如非本人操作请及时联系我们的客服热线"
        for n in range(1200)
    ]
    gold(train=texts)
    found = check("tiny").found["near-duplicates"]
    assert found.figures == {"groups": 1, "texts": 1200, "across": 0, "threshold": 0.7}
    assert (len(found.findings[0].places), found.findings[0].more) == (5, 1195)


def test_ambiguous_surfaces_come_most_one_sided_first_with_the_places_of_the_rarer_label(gold: Gold) -> None:
    gold(train=["[a:林晓]一", "[b:林晓]二", *["[a:北京]去"] * 9, "[b:北京]回"])
    assert told(check("tiny"), "ambiguous") == [
        ("北京", "a 9, b 1", ["train.raw:12"]),
        ("林晓", "a 1, b 1", ["train.raw:2"]),
    ]
    assert one_sided(3, 3) < one_sided(99, 100)


def test_unannotated_surfaces(gold: Gold) -> None:
    gold(
        train=[
            "[a:云帆科技]来了", "[a:云帆科技]走了", "云帆科技在云帆", "[a:云帆]好",  # longest match: 云帆 is free once, too
            "[b:公司]一", "公司公司公司",  # a common word: annotated less often than not
            "[a:IT]好", "SUMMIT和ITEM",  # inside words: none
            "[b:大学]", "[a:大学城]",  # inside a mention: none
            "[a:上]海", "上上上",  # one character says little
        ]
    )  # fmt: skip
    report = check("tiny")
    assert told(report, "unannotated") == [
        ("云帆科技", "annotated 2 times (a 2), left out once", ["train.raw:3"]),
        ("云帆", "annotated once (a 1), left out once", ["train.raw:3"]),
    ]
    places = [one.places[0] for one in report.found["unannotated"].findings]
    assert [place.text[place.start : place.end] for place in places] == ["云帆科技", "云帆"]
    assert (places[0].start, places[1].start) == (0, 5)
    assert report.found["unannotated"].figures["seldom"] == 1


def test_a_surface_that_occurs_again_in_its_own_sentence_is_counted(gold: Gold) -> None:
    gold(train=["[a:北京]和北京", "[a:北京]和[a:北京]", "[a:北京大学]在北京"])
    assert check("tiny").splits["train"].again == 1


def test_boundaries_half_words_and_widths(gold: Gold) -> None:
    gold(train=["在[a:北京，]住", "用[b:iPh]one", "做[a:ＣT]和[a:ＣＴ]或[a:CT]", "看[b:《赤壁]》", "看[b:《赤壁》]"])
    report = check("tiny")
    assert told(report, "boundaries") == [
        ("北京，", "ends with “，”", ["train.raw:1"]),
        ("《赤壁", "begins with “《”", ["train.raw:4"]),
    ]
    assert told(report, "half-words") == [("iPh", "a boundary lies inside a word or number", ["train.raw:2"])]
    assert told(report, "width") == [
        ("ＣT", "mixes full-width and half-width letters or digits", ["train.raw:3"]),
        ("CT", "CT once; ＣT once; ＣＴ once", ["train.raw:3", "train.raw:3"]),
    ]


def test_overlaps_and_unusual_characters(gold: Gold) -> None:
    folder = gold(train=["[a:林晓]来了"])
    nested = [
        {"start": 0, "end": 4, "label": "a", "text": "北京大学"},
        {"start": 0, "end": 2, "label": "b", "text": "北京"},
    ]
    lines = [
        {"id": "1", "text": "北京大学", "entities": nested, "source": "train.raw:1"},
        {"id": "2", "text": "林\u3000晓\u200b\u3000𠮷", "entities": [], "source": "train.raw:2"},
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    report = check("tiny")
    assert told(report, "overlaps") == [("北京大学", "mentions that share characters", ["train.raw:1"])]
    assert report.found["characters"].count == 3
    assert {one.what: one.detail for one in report.found["characters"].findings} == {
        "U+3000 IDEOGRAPHIC SPACE": "2 in train",
        "U+200B ZERO WIDTH SPACE": "1 in train",
    }


def test_rare_labels_and_splits_that_differ(gold: Gold) -> None:
    gold(train=["[a:甲乙]是"] * 300 + ["[b:丙丁]否"] * 4, dev=["[b:丙丁]否"] * 100 + ["[a:甲乙]是"] * 100)
    report = check("tiny", near=False)
    assert [(one.what, one.detail) for one in report.found["rare"].findings] == [("b", "mentions: train 4, dev 100")]
    assert report.found["rare"].findings[0].places[0].source == "train.raw:301"
    assert [one.what for one in report.found["drift"].findings] == ["dev: labels"]
    assert "b 50.0% (train 1.3%)" in report.found["drift"].findings[0].detail
    assert [place.source for place in report.found["drift"].findings[0].places] == ["train.raw", "dev.raw"]
    assert check("tiny", near=False, rare=4).found["rare"].count == 0


def test_the_divergence_is_jensen_shannons_and_chance_is_told_from_it() -> None:
    assert divergence({"a": 3}, {"b": 5}) == pytest.approx(1)
    assert divergence({"a": 1, "b": 3}, {"a": 10, "b": 30}) == pytest.approx(0)
    # Half of each: H(3/4, 1/4) - (H(1) + H(1/2, 1/2)) / 2 = 0.8113 - 0.5
    assert divergence({"a": 1}, {"a": 1, "b": 1}) == pytest.approx(0.3112781, abs=1e-6)
    # G = 10.84 against the critical 10.83 of one degree of freedom
    assert by_chance({"a": 50, "b": 50}, {"a": 72, "b": 28}) and not by_chance({"a": 50, "b": 50}, {"a": 73, "b": 27})


def test_any_number_of_processes_and_pieces_finds_the_same(gold: Gold, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"[a:北京{n % 7}]和[b:上海{n % 5}]，北京{n % 3}，[a:上海{n % 2}]。\u3000" for n in range(400)]
    gold(train=texts, dev=texts[:30])
    whole = check("tiny", workers=1).as_json()
    monkeypatch.setattr("ner_data.gold.PIECE", 1000)
    for workers in (1, 2):
        again = check("tiny", workers=workers).as_json()
        assert {**again, "seconds": {}} == {**whole, "seconds": {}}
    assert len(list(pieces(Path("data/gold/tiny/train.jsonl")))) > 50


def test_blank_lines_and_unsorted_mentions_are_read_like_by_the_other_commands(gold: Gold) -> None:
    folder = gold(train=["[a:林晓]来了", "[a:北京]和[b:上海]，"])
    lines = (folder / "train.jsonl").read_text("utf-8").splitlines()
    value = json.loads(lines[1])
    value["entities"].reverse()
    del value["source"]  # as in files of earlier versions
    (folder / "train.jsonl").write_text(f"\n{lines[0]}\n\n{json.dumps(value)}\n", "utf-8")
    report = check("tiny", rare=3)
    sources = {place.source for one in report.found["rare"].findings for place in one.places}
    assert {"train.raw:1", "data/gold/tiny/train.jsonl:4"} < sources
    assert report.splits["train"].touching == 0


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON (Input data was truncated): '{'; fix or remove the line"),
        ('{"id": "x", "text": "甲", "entities": [{"start": 0, "end": 2, "label": "a", "text": "甲乙"}]}', "does not fit a text of 1 characters"),
        ('{"id": "x", "text": "甲", "entities": [{"start": 0, "end": 1, "label": "a", "text": "乙"}]}', "but the text has '甲' there"),
        ('{"id": "x", "text": "甲", "entities": [{"start": 0, "end": 2, "label": "a", "text": "甲"}]}', "does not fit a text of 1 characters"),
        ('{"id": "x", "text": "甲"}', "lacks"),
        ('{"id": "train-1", "text": "甲", "entities": []}', "duplicate id train-1"),
    ],
)  # fmt: skip
def test_a_damaged_gold_file_is_refused_with_the_line(gold: Gold, line: str, problem: str) -> None:
    path = gold(train=["[a:林晓]来了"]) / "train.jsonl"
    path.write_text(f"{path.read_text('utf-8')}{line}\n", "utf-8")
    with pytest.raises(UserError, match=r"data/gold/tiny/train\.jsonl:2: ") as raised:
        check("tiny")
    assert problem in str(raised.value)
    assert str(raised.value).endswith(("; run `make data CORPUS=tiny`", "; fix or remove the line"))
