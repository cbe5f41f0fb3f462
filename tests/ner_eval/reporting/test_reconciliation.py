"""Every sum in a report is correct, and its numbers are those of the tables next to it."""

import random
import re

import pytest

from report_page import LABELS, data_of, said


def value(side: str) -> int:
    """The numbers in a text, added up; each is subtracted if a minus sign comes before it."""
    total, sign = 0, 1
    for sign_or_number in re.findall(r"[+−]|\d+", side):
        if sign_or_number.isdigit():
            total += sign * int(sign_or_number)
        else:
            sign = -1 if sign_or_number == "−" else 1
    return total


def equations(line: str) -> list[list[int]]:
    """The values of the sides of each equation with numbers on both sides."""
    clauses = re.split(r"[;；:：。，,()（）]|\.(?=\s|$)", line)
    sides = [clause.split("=") for clause in clauses if "=" in clause]
    return [[value(side) for side in equation] for equation in sides if all(re.search(r"\d", s) for s in equation)]


def all_sums(data: dict) -> list:
    protocols = [counted["sums"] for readings in data["protocols"].values() for counted in readings.values()]
    return [s for sums in (*protocols, *data["sums"].values(), data["comparison"]["sums"]) for s in sums]


@pytest.fixture(params=range(6))
def data(request, make_run, ner_eval, corrupt, records) -> dict:
    """Two mediocre runs compared; the first has every kind of fault."""
    rng = random.Random(request.param)
    folders = [
        make_run(records, {r.id: corrupt(r, LABELS, rng) for r in records}, LABELS, name=name)
        for name in ("one", "other")
    ]
    assert ner_eval("report", folders[0], "--compare", folders[1], "--no-png").code == 0
    return data_of(folders[0] / "report.html")


def test_every_sum_is_true_in_both_languages(data):
    for language in ("zh", "en"):
        lines = said(all_sums(data), language)
        found = [sides for line in lines for sides in equations(line)]
        assert len(found) > 15
        for sides in found:
            assert len(set(sides)) == 1, (sides, lines)


def test_the_numbers_are_those_of_the_tables(data):
    mentions, classes, sums = data["mentions"], data["classes"], data["sums"]
    numbers = dict(all_sums(data))
    for protocol, readings in data["protocols"].items():
        counted, (_, said_of_it) = readings["lenient"], readings["lenient"]["sums"][0]
        labels = counted["labels"].values()
        assert (
            said_of_it["gold"]
            == sum(v["tp"] + v["fn"] for v in labels)
            == counted["micro"]["tp"] + counted["micro"]["fn"]
        )
        assert said_of_it["predicted"] == sum(v["tp"] + v["fp"] for v in labels)
        explained = {"text": "sum_repeats", "span": "sum_every"}[protocol]
        assert [key for key, _ in counted["sums"]] == ["sum_counted", explained]
    span = data["protocols"]["span"]["lenient"]["micro"]
    assert (span["tp"], span["fp"], span["fn"]) == (
        data["correct"],
        *(numbers["sum_classes_span"][k] for k in ("fp", "fn")),
    )
    assert classes["hallucinated"] == mentions["hallucinated"]
    cells = data["confusion"]
    assert sum(map(sum, cells)) == data["correct"] + sum(classes.values())
    assert sum(map(sum, cells[:-1])) == mentions["gold"]
    assert numbers["sum_confusion"]["missed"] == sum(row[-1] for row in cells) == classes["missed"]
    for mode in data["modes"].values():
        near = mode["correct"] + mode["incorrect"] + mode["partial"]
        assert (near + mode["missed"], near + mode["spurious"]) == (mentions["gold"], mentions["predicted"])
    for groups in (data["breakdowns"]["sentence_length"], data["breakdowns"]["mention_length"]):
        hits, gold, predicted = (sum(v["tp"] + (v[k] if k else 0) for _, v in groups) for k in (None, "fn", "fp"))
        assert (hits, gold, predicted) == (data["correct"], mentions["gold"], mentions["predicted"])
    assert sums["examples"][0][1]["wrong"] == data["wrong_sentences"] == len(data["examples"])
    assert numbers["sum_compared"]["fixed"] == data["comparison"]["fixed"]["count"]


def test_an_equation_that_is_false_would_be_seen():
    assert equations("Gold 5 = 2 hits + 3 misses; predicted 4 = 2 hits + 1.") == [[5, 5], [4, 3]]
    assert equations("标注 390 个 − 重复 16 = 374；每行：正确 + 错误 = 标注 7。") == [[374, 374]]


def test_a_wrong_sentence_with_nothing_but_its_form_wrong_is_told_apart(make_run, ner_eval, records):
    answers = {r.id: "[]" for r in records[:2]} | {records[2].id: "```json\n[]\n```"}
    bare = [type(r)(r.id, r.text, ()) for r in records[:3]]
    folder = make_run(bare, answers, LABELS)
    assert ner_eval("report", folder, "--no-png").code == 0
    sums = data_of(folder / "report.html")["sums"]["examples"]
    assert [key for key, _ in sums] == ["sum_sentences", "sum_sentences_form"]
    assert sums[1][1] == {"sentences": 3, "right": 2, "wrong": 1, "form": 1}
