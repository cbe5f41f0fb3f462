"""Error classes, groups, and likely annotation errors, on one sentence."""

from collections import Counter

import pytest

from ner_data.alignment import align
from ner_data.gold import Entity, Mention, Parsed, Record
from ner_eval.metrics.loaded_run import Answered
from ner_eval.reporting import breakdown
from ner_eval.reporting.mention_errors import Pair, pair
from ner_eval.reporting.suspects import Suspect, suspects
from report_page import GOLD, TEXT


def answered(*mentions: tuple[str, str], text: str = TEXT, gold: tuple[Entity, ...] = GOLD) -> Answered:
    named = tuple(Mention(*mention) for mention in mentions)
    return Answered(Record("r", text, gold), "", Parsed(named), tuple(align(named, text)), False)


def kinds(item: Answered) -> list[str]:
    return [found.kind for found in pair(item)]


@pytest.mark.parametrize(
    ("mentions", "expected"),
    [
        ([("name", "林晓"), ("company", "云帆科技"), ("position", "经理")], ["correct"] * 3),
        ([], ["missed"] * 3),
        ([("name", "林"), ("company", "云帆科技"), ("position", "经理")], ["boundary", "correct", "correct"]),
        ([("company", "林晓"), ("company", "云帆科技"), ("position", "经理")], ["label", "correct", "correct"]),
        ([("name", "林晓"), ("name", "云帆"), ("position", "经理")], ["correct", "boundary_label", "correct"]),
        ([("name", "林晓"), ("name", "在")], ["correct", "spurious", "missed", "missed"]),
        ([("name", "王晓")], ["missed", "missed", "missed", "hallucinated"]),
        ([("name", "林晓"), ("name", "林晓"), ("company", "云帆科技"), ("position", "经理")],
         ["correct", "spurious", "correct", "correct"]),
        # The exact match takes the gold mention, although a near one comes first.
        ([("name", "林"), ("name", "林晓"), ("company", "云帆科技"), ("position", "经理")],
         ["spurious", "correct", "correct", "correct"]),
    ],
)  # fmt: skip
def test_every_mention_falls_into_one_class(mentions, expected):
    assert kinds(answered(*mentions)) == expected


def test_groups_add_up_to_the_whole():
    pairs = pair(answered(("name", "林"), ("company", "云帆科技"), ("position", "经"), ("name", "张三")))
    training = Counter({"林晓": 1, "云帆科技": 9})
    groups = [
        breakdown.by_sentence_length([(TEXT, pairs)]),
        breakdown.by_mention_length(pairs),
        breakdown.by_frequency(pairs, training),
    ]
    for counts in groups:
        total = [sum(getattr(c, name) for c in counts.values()) for name in ("tp", "fp", "fn")]
        assert total == [1, 3, 2]
    assert {name: (c.tp, c.fp, c.fn) for name, c in groups[2].items()} == {
        "unseen": (0, 3, 1),
        "rare": (0, 0, 1),
        "common": (1, 0, 0),
    }


def test_the_edges_of_groups_are_inclusive():
    names = breakdown.interval_names((10, 20))
    assert names == ["1-10", "11-20", "21+"]
    for length, name in ((10, "1-10"), (11, "11-20"), (20, "11-20"), (101, "101+")):
        text = "甲" * length
        pairs = [Pair("missed", Entity(0, 1, "name", "甲"), None)]
        assert list(breakdown.by_sentence_length([(text, pairs)])) == [name]


def test_a_consistent_disagreement_that_repeats_is_a_suspect():
    wrong = answered(("company", "林晓"), ("company", "云帆科技"), ("position", "经理"))
    right = answered(*((e.label, e.text) for e in GOLD))
    found = suspects([("a", pair(wrong)), ("b", pair(wrong))], Counter())
    assert found == [Suspect("林晓", "name", "company", 2, ("a", "b"), 0, 0)]
    assert suspects([("a", pair(wrong))], Counter()) == []
    assert suspects([("a", pair(wrong)), ("b", pair(right)), ("c", pair(wrong))], Counter()) == []


def test_a_mention_that_the_answer_repeats_says_nothing_about_gold():
    repeated = answered(("name", "林晓"), ("name", "林晓"), ("company", "云帆科技"), ("position", "经理"))
    assert kinds(repeated).count("spurious") == 1
    assert suspects([("a", pair(repeated)), ("b", pair(repeated))], Counter()) == []


def test_training_that_sides_with_the_model_makes_one_disagreement_a_suspect():
    wrong = answered(("company", "林晓"), ("company", "云帆科技"), ("position", "经理"))
    sided = Counter({("林晓", "company"): 3, ("林晓", "name"): 1})
    assert [s.training_model for s in suspects([("a", pair(wrong))], sided)] == [3]
    assert suspects([("a", pair(wrong))], Counter({("林晓", "company"): 3, ("林晓", "name"): 3})) == []
