"""Parsing answers: what was rendered comes back, and whatever a model writes does no harm."""

import json
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner_data.answers import json_list, load_form
from ner_data.gold import Entity, Mention, Parsed


@st.composite
def sentences(draw: st.DrawFn) -> tuple[str, list[Entity]]:
    # No surrogates: a UTF-8 gold file cannot hold them.
    text = draw(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30))
    spans = draw(st.lists(st.tuples(st.integers(0, 29), st.integers(1, 30)), max_size=5))
    labels = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=5)
    return text, sorted(Entity(s, e, draw(labels), text[s:e]) for s, e in spans if s < e <= len(text))


@pytest.mark.parametrize("name", ["json_list", "lines"])
@settings(deadline=None)
@given(sentence=sentences())
def test_what_is_rendered_is_parsed_back_in_order(name, sentence):
    form = load_form(name)
    text, entities = sentence
    assert form.parse(form.render(text, entities), text) == Parsed(tuple(Mention(e.label, e.text) for e in entities))


ITEM = '{"label":"name","text":"林晓"}'
OTHER = '{"label":"company","text":"云帆"}'
BOTH = (Mention("name", "林晓"), Mention("company", "云帆"))


@pytest.mark.parametrize(
    "answer",
    [
        f"```json\n[{ITEM},{OTHER}]\n```",
        f"答案：[{ITEM}, {OTHER}]。希望有帮助！",
        f'[{ITEM},{OTHER},{{"label":"name","te',
        f"[{ITEM},{OTHER}",
        f"[{ITEM}\n{OTHER}]",
        "[{'label': 'name', 'text': '林晓'}, {'text': '云帆', 'label': 'company'}]",
        f"[{ITEM},{OTHER},]",
        f"{ITEM}{OTHER}",
    ],
)
def test_complete_items_of_an_inexact_answer_are_read_and_the_answer_is_called_inexact(answer):
    assert json_list.parse(answer, "") == Parsed(BOTH, ("inexact",))


@pytest.mark.parametrize("answer", ["", "没有实体", "{}", "null", "[{", '{"label":"name"}', "[" * 10, '"[]'[:1], "[1"])
def test_an_answer_without_items_is_unparsable(answer):
    assert json_list.parse(answer, "") == Parsed((), ("unparsable",))


@pytest.mark.parametrize("answer", ["```\n[]\n```", "没有实体：[ ]", "[]\n[]"])
def test_an_empty_list_among_words_is_inexact_and_empty(answer):
    assert json_list.parse(answer, "") == Parsed((), ("inexact",))


@pytest.mark.parametrize(
    ("item", "mention"),
    [
        ('{"label":"name"}', Mention("name", "")),
        ('{"label":"name","text":7}', Mention("name", "")),
        ('{"label":["name"],"text":"林晓"}', Mention("", "林晓")),
        ('{"label":"name","text":"林晓","start":0}', Mention("name", "林晓")),
        ('"林晓"', Mention("", "")),
        ("NaN", Mention("", "")),
        ("[]", Mention("", "")),
    ],
)
def test_an_item_of_another_form_is_returned_as_an_error_not_dropped(item, mention):
    assert json_list.parse(f"[{ITEM},{item}]", "") == Parsed((BOTH[0], mention), ("bad_item",))


def test_a_key_given_twice_is_not_exactly_the_form():
    parsed = json_list.parse('[{"label":"name","label":"company","text":"林晓"}]', "")
    assert parsed.problems == ("bad_item",)


def test_surfaces_can_be_stored_whatever_the_model_wrote():
    for answer in ('[{"label":"\\ud800","text":"a\\udfff\\u0000"}]', "x[{'label':'\\ud800','text':'a\udfff\x00'}]"):
        parsed = json_list.parse(answer, "")
        assert parsed.mentions == (Mention("?", "a?\x00"),)


FRAGMENTS = [
    *'[]{}":,\'\\ \n', "\x00", "\ud800", "\udfff", "label", "text", '"label"', '"text"', "'label':", '"a"', ITEM,
    "[" * 50, "}" * 50, "\\u", "\\ud83d", "1e999", "-", "NaN", "null", "```", "\u2028", "\ufeff", "9" * 5000,
]  # fmt: skip


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)))
def test_whatever_the_answer_the_parser_neither_raises_nor_returns_what_cannot_be_stored(answer):
    parsed = json_list.parse(answer, "林晓")
    json.dumps([[m.label, m.text] for m in parsed.mentions], ensure_ascii=False).encode()
    assert set(parsed.problems) <= {"inexact", "bad_item", "unparsable"}
    assert not (parsed.mentions and "unparsable" in parsed.problems)


def repeated(unit: str, size: int) -> str:
    return unit * (size // len(unit))


HOSTILE = {
    "brackets": "[", "braces": "{", "objects in objects": '{"a":', "lists in objects": '[{"label":[', "NUL": "\x00",
    "surrogates": "\ud800", "quotes": '"', "backslashes": "\\", "escaped quotes": '\\"', "spaces": " ",
    "brackets and spaces": "[ ", "braces and spaces": "{ ", "open items": '{"label":"', "mixed quotes": "{'label':\"",
    "half items": '{"label":"a",', "half items with spaces": '{"label" : "a" , ', "items": ITEM + ",",
    "items without end": '{"label":"a","text":"b"', "keys": '"label":', "nested quotes": '{"label":"{\'label\':\'',
    "digits": "9", "minus": "-", "escapes": "\\u00", "unclosed fence": "```json\n", "closed": "]}", "commas": ",",
    "text of braces": '{"label":"{{{{{{{{', "surface first": '{"text":"a","label":', "open surfaces": '{"text":"',
}  # fmt: skip


def seconds(answer: str) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        json_list.parse(answer, "")
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("start", ["", "[", '[{"label":"a","text":"', '{"label":'])
@pytest.mark.parametrize("end", ["", "x", '"}]'])
def test_the_parser_takes_linear_time_on_hostile_answers(unit, start, end):
    """Sixteen times the length takes sixteen times as long, or four times that on a busy machine; quadratic time would
    take 256 times as long."""
    small, large = (start + repeated(unit, size) + end for size in (2**13, 2**17))
    assert seconds(large) < 64 * max(seconds(small), 2e-4)


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_an_answer_of_1_mb_is_parsed_in_seconds(unit):
    assert seconds(repeated(unit, 2**20)) < 5


@pytest.mark.parametrize("depth", [100, 10_000, 1_000_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"label":', "}]"), ("[{", "}]")])
def test_nested_answers_never_raise(depth, opening, closing):
    for answer in (opening * depth, opening * depth + "1" + closing * depth, f"[{ITEM}," + opening * depth):
        parsed = json_list.parse(answer, "")
        assert parsed.problems


def test_random_damage_to_real_answers_never_raises():
    rng = random.Random(0)
    answer = f"[{','.join([ITEM, OTHER] * 20)}]"
    for _ in range(3000):
        damaged = list(answer)
        for _ in range(rng.randint(1, 6)):
            position = rng.randrange(len(damaged))
            damaged[position : position + rng.randint(0, 3)] = rng.choice(FRAGMENTS)
        json_list.parse("".join(damaged), "")
