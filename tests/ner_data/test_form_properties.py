"""All answer forms: what is rendered is read back, with its places where the form has them, and no answer does harm."""

import json
import random
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from ner_data import align
from ner_data.answers import form_names, load_form
from ner_data.gold import Entity, Mention, Parsed, Record
from ner_data.prompt import PromptSpec, instruction

LABELS = ("name", "company", "中药", "a b", "|]")
# Marks, escapes, control tokens, line breaks and white space among a few characters that repeat.
CHARS = [*"甲乙丙a []|\\\\[|]\"'\t\n\r<>/{}:,", "<|im_end|>", "[gMASK]", "< |", "</s>", "😀", "\u2028", "\\n", "无"]
ORDERED = ("json_list", "lines")


def spec_of(form: str) -> PromptSpec:
    return PromptSpec("x", "", instruction([(label, label) for label in LABELS], form), LABELS, form, 64)


def random_text(rng: random.Random) -> str:
    return "".join(rng.choice(CHARS) for _ in range(rng.randint(1, 12)))


def apart(rng: random.Random, text: str) -> list[Entity]:
    """Entities that do not overlap."""
    cuts = sorted(rng.randint(0, len(text)) for _ in range(2 * rng.randint(0, 4)))
    pairs = zip(cuts[::2], cuts[1::2], strict=True)
    return [Entity(start, end, rng.choice(LABELS), text[start:end]) for start, end in pairs if start < end]


def anywhere(rng: random.Random, text: str) -> list[Entity]:
    spans = (sorted(rng.sample(range(len(text) + 1), 2)) for _ in range(rng.randint(0, 5)))
    return [Entity(start, end, rng.choice(LABELS), text[start:end]) for start, end in spans]


def check_round_trips(form: str, count: int) -> int:
    """Render and read records of random texts; returns how many."""
    spec, rng = spec_of(form), random.Random(form)
    for number in range(count):
        text = random_text(rng)
        record = Record("r", text, tuple(apart(rng, text) if number % 2 else anywhere(rng, text)))
        # A surface alone may stand for the text's own space or for one that the prompt inserts; a place decides.
        reader = spec if form == "inline" else load_form(form)
        answer = spec.render(record) if form == "inline" else load_form(form).render(text, record.gold)
        parsed = reader.parse(answer, text)
        wanted = [(e.label, e.text) for e in record.gold]
        found = [(m.label, m.text) for m in parsed.mentions]
        assert parsed.problems == (), record
        if form in ORDERED:
            assert found == wanted, record
        elif form == "json_grouped":
            # By label; of overlapping ones, two with the same text are found from left to right.
            same = Counter if number % 2 == 0 else list
            for label in LABELS:
                assert same(m for m in found if m[0] == label) == same(m for m in wanted if m[0] == label), record
        else:
            spans = [
                (m.start, *span, m.label, m.text)
                for m, span in zip(parsed.mentions, align(parsed.mentions, text), strict=True)
            ]
            placed = [(e.start, e.start, e.end, e.label, e.text) for e in record.gold]
            assert not Counter(spans) - Counter(placed), record  # crossing entities are left out, nothing is made up
            assert spans == placed or number % 2 == 0, record
    return count


@pytest.mark.parametrize("form", form_names())
def test_what_is_rendered_is_read_back(form: str) -> None:
    assert check_round_trips(form, 3000) == 3000


@pytest.mark.slow
@pytest.mark.parametrize("form", form_names())
def test_what_is_rendered_is_read_back_in_many_more_texts(form: str) -> None:
    assert check_round_trips(form, 60_000) == 60_000


@pytest.mark.parametrize("form", form_names())
def test_a_record_without_entities_has_an_answer_and_is_read_as_empty(form: str) -> None:
    spec = spec_of(form)
    for text in ("今天", "", " ", "[", "无", "[]", "{}"):
        answer = spec.render(Record("r", text, ()))
        assert answer and spec.parse(answer, text) == Parsed(())


def test_grouped_surfaces_are_read_in_the_order_of_the_text() -> None:
    text = "林晓在云帆科技任经理，周舟在海腾"
    found = load_form("json_grouped").parse('{"name":["林晓","周舟"],"company":["云帆科技","海腾"]}', text)
    assert [mention.text for mention in found.mentions] == ["林晓", "云帆科技", "周舟", "海腾"]


def test_nested_entities_are_nested_marks_and_the_later_of_two_that_cross_is_left_out() -> None:
    form, text = load_form("inline"), "上海银行总行"
    nested = [Entity(0, 2, "address", "上海"), Entity(0, 4, "company", "上海银行")]
    assert form.render(text, nested) == "[[上海|address]银行|company]总行"
    assert [(m.start, m.text) for m in form.parse("[[上海|address]银行|company]总行", text).mentions] == [
        (0, "上海"),
        (0, "上海银行"),
    ]
    crossing = [Entity(0, 4, "company", "上海银行"), Entity(2, 6, "company", "银行总行")]
    assert form.render(text, crossing) == "[上海银行|company]总行"


TEXT = "林晓在云帆科技任经理，林晓走了"
NAME, COMPANY, AGAIN = Mention("name", "林晓", 0), Mention("company", "云帆科技", 3), Mention("name", "林晓", 11)


@pytest.mark.parametrize(
    ("answer", "mentions", "problems"),
    [
        (" 林晓在云帆科技任经理，[林晓|name]走了\n", (AGAIN,), ()),
        # Copied with a character less, more, or another: what is before and after it keeps its place.
        ("[林晓|name]在[云帆科技|company]任理，[林晓|name]走了", (NAME, COMPANY, AGAIN), ("inexact",)),
        ("林晓在云帆科技担任经理，[林晓|name]走了", (AGAIN,), ("inexact",)),
        ("林小在云帆科技任经理，[林晓|name]走", (Mention("name", "林晓"),), ("inexact",)),
        # Truncated, without a label, without a bar, or with marks that were not escaped.
        ("[林晓|name]在[云帆科技|com", (NAME,), ("inexact",)),
        ("[林晓|name]在[云帆科", (NAME,), ("inexact",)),
        ("[林晓]在云帆科技任经理，林晓走了", (Mention("", "林晓", 0),), ("bad_item",)),
        ("[|name]林晓在云帆科技任经理，林晓走了", (Mention("name", ""),), ("bad_item",)),
        ("[林晓|name]在云帆科技任经理，林晓走了]", (NAME,), ("inexact",)),
        ("答案：[林晓|name]", (Mention("name", "林晓"),), ("inexact",)),
        ("没有实体", (), ("unparsable",)),
        ("", (), ("unparsable",)),
        ("[]", (Mention("", ""),), ("bad_item", "inexact")),
    ],
)
def test_a_wrong_copy_keeps_what_can_be_kept(
    answer: str, mentions: Sequence[Mention], problems: Sequence[str]
) -> None:
    assert load_form("inline").parse(answer, TEXT) == Parsed(tuple(mentions), tuple(problems))


BOTH = (Mention("name", "林晓"), Mention("company", "云帆"))


@pytest.mark.parametrize(
    ("form", "answer", "mentions", "problems"),
    [
        ("lines", "林晓\tname\r\n云帆\tcompany\n", BOTH, ()),
        ("lines", "```\n林晓\tname\n云帆\tcompany\n```", BOTH, ("inexact",)),
        ("lines", "林晓\tname\n云帆\tcompany\n周", BOTH, ("inexact",)),
        ("lines", "林晓\tname\t好", BOTH[:1], ("bad_item",)),
        ("lines", "\tname", (Mention("name", ""),), ("bad_item",)),
        ("lines", "C:\\q\tname", (Mention("name", "C:\\q"),), ("inexact",)),
        ("lines", "实体：\n无", (), ("inexact",)),
        ("lines", "没有", (), ("unparsable",)),
        ("lines", "", (), ("unparsable",)),
        ("json_grouped", '```json\n{"name":["林晓"],"company":["云帆"]}\n```', BOTH, ("inexact",)),
        ("json_grouped", '{"name":["林晓"],"company":["云帆","周', BOTH, ("inexact",)),
        ("json_grouped", '{"name":["林晓","company":["云帆"]}', BOTH, ("inexact",)),
        ("json_grouped", "{'name': ['林晓'], 'company': ['云帆',]}", BOTH, ("inexact",)),
        ("json_grouped", '{"name":["林晓"],"company":["云帆"],"book":[]}', BOTH, ("inexact",)),
        ("json_grouped", '{"name":["林晓"],"company":["云帆"],"name":[]}', BOTH, ("inexact",)),
        ("json_grouped", '{"name":"林晓"}', BOTH[:1], ("bad_item",)),
        ("json_grouped", '{"name":[7]}', (Mention("name", ""),), ("bad_item",)),
        ("json_grouped", '{"name":[""]}', (Mention("name", ""),), ("bad_item",)),
        ("json_grouped", "没有：{ }", (), ("inexact",)),
        ("json_grouped", "[]", (), ("unparsable",)),
        ("json_grouped", "", (), ("unparsable",)),
    ],
)
def test_an_answer_that_is_not_exactly_in_the_form_keeps_its_complete_mentions(
    form: str, answer: str, mentions: Sequence[Mention], problems: Sequence[str]
) -> None:
    assert load_form(form).parse(answer, "林晓在云帆") == Parsed(tuple(mentions), tuple(problems))


FRAGMENTS = [
    *"[]{}|\\\":,'\t\n 甲", "name", '"name":[', '"甲",', "|name]", "[甲|name]", "甲\tname\n", "\ud800", "\x00", "\u2028",
    "[" * 40, "|" * 40, '"' * 40, "\\" * 41, "无", "{}", "```", "<think>", "甲乙丙",
]  # fmt: skip


def fuzz(form: str, count: int) -> int:
    """Read damaged and made-up answers; returns how many."""
    spec, rng = spec_of(form), random.Random(f"fuzz {form}")
    for number in range(count):
        text = random_text(rng)
        answer = spec.render(Record("r", text, tuple(apart(rng, text)))) if number % 2 else ""
        for _ in range(rng.randint(1, 8)):
            place = rng.randint(0, len(answer))
            answer = answer[:place] + rng.choice(FRAGMENTS) + answer[place + rng.randint(0, 3) :]
        parsed = spec.parse(answer, text)
        json.dumps([[m.label, m.text] for m in parsed.mentions], ensure_ascii=False).encode()
        assert set(parsed.problems) <= {"inexact", "bad_item", "unparsable"}, answer
        assert not (parsed.mentions and "unparsable" in parsed.problems), answer
        for mention, span in zip(parsed.mentions, align(parsed.mentions, text), strict=True):
            assert span is None or text[slice(*span)] == mention.text, (answer, text)
    return count


@pytest.mark.parametrize("form", form_names())
def test_damaged_answers_never_raise_and_name_what_the_text_has(form: str) -> None:
    assert fuzz(form, 3000) == 3000


@pytest.mark.slow
@pytest.mark.parametrize("form", form_names())
def test_many_more_damaged_answers(form: str) -> None:
    assert fuzz(form, 60_000) == 60_000


def seconds(form: str, answer: str, text: str) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        parsed = load_form(form).parse(answer, text)
        align(parsed.mentions, text)
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("form", form_names())
@pytest.mark.parametrize("unit", FRAGMENTS)
def test_reading_takes_linear_time(form: str, unit: str) -> None:
    """Sixteen times the length takes sixteen times as long; quadratic time would take 256 times as long."""
    for start, end in (("", ""), ("[", "]"), ('{"name":["', '"]}'), ("甲\t", "甲|name]")):
        small, large = (start + unit * (size // len(unit)) + end for size in (2**13, 2**17))
        assert seconds(form, large, "甲乙丙" * 100) < 64 * max(seconds(form, small, "甲乙丙" * 100), 1e-3), (
            start,
            end,
        )


def test_marks_nested_endlessly_are_read_in_seconds() -> None:
    """Each of the marks would have a surface as long as all that is in it."""
    for answer in ("[" * 2**17 + "甲" * 2**17 + "|a]" * 2**17, "[甲" * 2**17 + "|a]" * 2**17):
        assert seconds("inline", answer, "甲" * 1000) < 5
