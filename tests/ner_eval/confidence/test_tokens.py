"""Scores of mentions from the log-probabilities of an answer's tokens, in every answer form."""

import json
import random
from math import exp
from typing import Any

import pytest

from ner_data.alignment import align
from ner_data.answers import form_names, load_form
from ner_data.gold import Entity, Mention
from ner_data.prompt import PromptSpec
from ner_eval.confidence.tokens import Token, entity_scores, tokens_of

TEXT = '林晓在"云帆"科技任经理\t，林晓\n笑'
ENTITIES = [
    Entity(0, 2, "name", "林晓"),
    Entity(3, 9, "company", '"云帆"科技'),
    Entity(10, 13, "position", "经理\t"),
    Entity(14, 17, "name", "林晓\n"),
]
# What names each of them in the answer.
WRITTEN = {
    "json_list": ['林晓"name', r'\"云帆\"科技"company', r'经理\t"position', r'林晓\n"name'],
    "json_grouped": ["name林晓", r"company\"云帆\"科技", r"position经理\t", r"name林晓\n"],
    "lines": ["林晓\tname", '"云帆"科技\tcompany', "经理\\t\tposition", "林晓\\n\tname"],
    "inline": ["[林晓|name", '["云帆"科技|company', "[经理\t|position", "[林晓\n|name"],
}


def content(*pieces: tuple[bytes, float]) -> dict[str, Any]:
    """What vLLM sends: text that cannot be decoded is replaced, the bytes are exact."""
    return {"content": [{"token": b.decode(errors="replace"), "bytes": [*b], "logprob": p} for b, p in pieces]}


def one_per_byte(answer: str, least_likely: int = -1) -> tuple[Token, ...]:
    pieces = [(bytes([byte]), -2.0 if at == least_likely else -0.1) for at, byte in enumerate(answer.encode())]
    found = tokens_of(content(*pieces), answer, True)
    assert found
    return found


def scored(form: str, answer: str, text: str, tokens: tuple[Token, ...] | None) -> dict[Entity, float]:
    assert tokens
    mentions = load_form(form).parse(answer, text).mentions
    return entity_scores(answer, tokens, mentions, align(mentions, text))


@pytest.mark.parametrize("form", form_names())
def test_a_score_is_the_probability_of_the_tokens_of_surface_and_label(form: str) -> None:
    answer = load_form(form).render(TEXT, ENTITIES)
    parsed = load_form(form).parse(answer, TEXT)
    assert parsed.problems == ()
    written = ["".join(answer[start:end] for start, end in mention.written) for mention in parsed.mentions]
    assert sorted(written) == sorted(WRITTEN[form])
    assert scored(form, answer, TEXT, one_per_byte(answer)) == {
        entity: pytest.approx(exp(-0.1 * len(name.encode())))
        for entity, name in zip(ENTITIES, WRITTEN[form], strict=True)
    }


@pytest.mark.parametrize("form", form_names())
def test_each_occurrence_of_a_mention_has_its_own_tokens(form: str) -> None:
    text, entities = "林晓和林晓", [Entity(0, 2, "name", "林晓"), Entity(3, 5, "name", "林晓")]
    answer = load_form(form).render(text, entities)
    scores = scored(form, answer, text, one_per_byte(answer, answer.encode().rindex("林".encode())))
    first, second = (scores[entity] for entity in entities)
    assert second == pytest.approx(first * exp(-1.9))


def test_of_mentions_that_are_one_entity_the_best_score_counts() -> None:
    for one, other in ((-1.0, -3.0), (-3.0, -1.0)):
        scores = scored("lines", "林晓\tname\n林晓\tname", "林晓", ((11, one), (1, -9.0), (11, other)))
        assert scores == {Entity(0, 2, "name", "林晓"): pytest.approx(exp(-1))}


@pytest.mark.parametrize("cut", [2, 3, 4, 5])
def test_a_token_that_splits_a_character_or_holds_surface_and_label_counts_once(cut: int) -> None:
    answer = "林晓\tname"
    first, second = answer.encode()[:cut], answer.encode()[cut:6]
    for parts in ([first, second, b"\tname"], [first, second + b"\tna", b"me"]):
        tokens = tokens_of(content(*((part, -0.5) for part in parts)), answer, True)
        assert list(scored("lines", answer, "林晓", tokens).values()) == [pytest.approx(exp(-1.5))]


def test_a_token_without_bytes_belongs_to_the_character_that_a_later_one_completes() -> None:
    answer = "林晓\tname"
    tokens = tokens_of(content((b"", -1.0), ("林".encode(), -1.0), ("晓\tname".encode(), 0.0)), answer, True)
    assert list(scored("lines", answer, "林晓", tokens).values()) == [pytest.approx(exp(-2))]


def test_the_token_that_ends_an_answer_is_no_part_of_it() -> None:
    ended = content((b"[]", -0.1), (b"<|im_end|>", -0.2))
    assert tokens_of(ended, "[]", ended=True) == ((2, -0.1),)
    assert tokens_of(ended, "[]", ended=False) == ()  # cut off: then every token is one of the answer
    assert tokens_of(content((b"[]", -0.1)), "[]", ended=False) == ((2, -0.1),)


@pytest.mark.parametrize(
    "logprobs",
    [
        content((b"[", -0.1)),
        content((b"[]]", -0.1)),
        content((b"[]", 0.5)),
        content((b"[]", float("nan"))),
        content((b"[]", float("-inf"))),
        {"content": [{"token": "[]"}]},
        {"content": [{"token": "[]", "bytes": [91, 999], "logprob": -1}]},
        {"content": [{"token": "[]", "bytes": [91, -1], "logprob": -1}]},
        {"content": [3]},
        {"content": "x"},
        [1],
        "x",
    ],
)
def test_tokens_that_do_not_add_up_or_have_no_numbers_are_none(logprobs: Any) -> None:
    assert tokens_of(logprobs, "[]", ended=False) == ()


def test_a_server_without_logprobs_sends_none() -> None:
    assert tokens_of(None, "[]", True) is None
    assert tokens_of({"content": None}, "[]", True) is None


def test_without_bytes_the_text_of_a_token_is_taken() -> None:
    logprobs = {"content": [{"token": "林", "logprob": -0.1}, {"token": "\ud800", "logprob": 0.0001}]}
    assert tokens_of(logprobs, "林\ud800", True) == ((3, -0.1), (1, 0.0))


@pytest.mark.parametrize("form", form_names())
def test_after_thoughts_a_mention_is_where_the_answer_has_it(form: str) -> None:
    spec = PromptSpec("demo", "系统", "抽取", ("name", "company", "position"), form, 64)
    said = load_form(form).render(TEXT, ENTITIES)
    for answer in (f"<think>\n林晓\tname </think>\n\n{said}\n", f"想</think>{said}"):
        mentions = spec.parse(answer, TEXT).mentions
        written = ["".join(answer[start:end] for start, end in mention.written) for mention in mentions]
        assert sorted(written) == sorted(name.strip("\n") if form == "inline" else name for name in WRITTEN[form])


def damaged(answer: str, rng: random.Random) -> str:
    odd_list = [{"text": ["林晓", {"text": "x"}], "label": "name"}, "y", {"label": "name", "text": "林晓"}]
    odd_groups = {"name": ["林晓", {"a": "b"}, ["c"]], "company": "云帆", "position": {"d": ["e"]}}
    return rng.choice(
        [
            answer[: rng.randrange(len(answer) + 1)],
            f"```json\n{answer}\n```",
            "".join(char for char in answer if rng.random() > 0.05),
            answer.replace('"', "'"),
            json.dumps(odd_list),
            json.dumps(odd_groups),
            "[" * rng.randrange(40) + answer,
        ]
    )


@pytest.mark.parametrize("form", form_names())
def test_whatever_the_answer_what_names_a_mention_is_inside_it(form: str) -> None:
    rng = random.Random(5)
    answer = load_form(form).render(TEXT, ENTITIES)
    for _ in range(300):
        broken = damaged(answer, rng)
        for mention in load_form(form).parse(broken, TEXT).mentions:
            assert all(0 <= start <= end <= len(broken) for start, end in mention.written)
            written = "".join(broken[start:end] for start, end in mention.written)
            assert mention.text != "林晓" or "林晓" in written or "\\u6797\\u6653" in written, (broken, mention)


def test_a_mention_that_nothing_names_has_the_score_0() -> None:
    assert list(entity_scores("[]", [(2, -0.1)], (Mention("name", "林晓"),), [(0, 2)]).values()) == [0.0]
