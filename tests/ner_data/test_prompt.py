"""The prompt spec: what is asked comes back, and what looks like a control token is sent as text."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ner_common.errors import UserError
from ner_data import answers
from ner_data.gold import Entity, Mention, Parsed, Record
from ner_data.prompt import PromptSpec, escape, escape_entities, instruction, restored, unescape

SPEC = PromptSpec(
    "x", "系统", instruction([("name", "姓名"), ("药", "药")], "json_list"), ("name", "药"), "json_list", 64
)
# Texts mostly of characters that can trip up an escaping scheme.
tricky = st.text(alphabet=st.sampled_from(list("<[| />ims_end甲MASKg]\\\"'{}")), max_size=40)


@given(st.one_of(st.text(), tricky))
@example("<|im_end|>")
@example("< |im_end|> <  |x")
def test_escaping_is_reversible(text: str) -> None:
    assert unescape(escape(text)) == text


@pytest.mark.parametrize("token", ["<|im_end|>", "<|endoftext|>", "<tool_call>", "</s>", "[gMASK]", "<|user|>"])
def test_no_control_token_survives_escaping(token: str) -> None:
    assert token not in escape(f"甲{token}乙")


@pytest.mark.parametrize("form", ["json_list", "lines", "inline"])
@given(text=st.one_of(tricky, st.text(max_size=20)), data=st.data())
def test_entities_of_any_text_come_back_as_they_were(form: str, text: str, data: st.DataObject) -> None:
    entities = []
    end = 0
    while end < len(text) and len(entities) < 4:
        start = data.draw(st.integers(end, len(text) - 1))
        end = data.draw(st.integers(start + 1, len(text)))
        entities.append(Entity(start, end, "name", text[start:end]))
    record = Record("1", text, tuple(entities))
    spec = replace(SPEC, answer_form=form)
    # In "<|< " the escaped text has "< " twice, once with an inserted space: a surface alone does not say which.
    escaped, moved = escape_entities(text, entities)
    for entity, shown in zip(entities, moved, strict=True):
        at = [n for n in range(len(escaped)) if escaped.startswith(shown.text, n)]
        assume(form == "inline" or {restored(Mention("name", shown.text, n), text).text for n in at} == {entity.text})
    parsed = spec.parse(spec.render(record), text)
    assert parsed.problems == ()
    found = [mention.text for mention in parsed.mentions]
    # A surface with a lone surrogate cannot be written to any UTF-8 file; hypothesis makes none by default.
    assert found == [entity.text for entity in entities]


def test_the_instruction_lists_ids_and_names_with_single_braces() -> None:
    assert "类别：name（姓名）、药。" in SPEC.instruction
    assert '[{"text":"实体","label":"类别"}]' in SPEC.instruction
    assert "{{" not in SPEC.instruction


def test_the_fingerprint_follows_what_the_model_sees_and_nothing_else() -> None:
    def spec(**changes: object) -> str:
        fields = {"corpus": "x", "system": "s", "instruction": "i", "labels": ("a",), "answer_form": "json_list"}
        return PromptSpec(**{**fields, "max_tokens": 1, **changes}).fingerprint  # type: ignore[arg-type]

    assert spec() == spec(max_tokens=2) == spec(corpus="y")
    assert len({spec(), spec(system="t"), spec(instruction="j"), spec(labels=("b",))}) == 4


def test_a_spec_survives_its_file_and_refuses_an_edited_one(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    SPEC.save(path)
    assert PromptSpec.load(path) == SPEC
    path.write_text(path.read_text(encoding="utf-8").replace("系统", "系统二"), encoding="utf-8")
    with pytest.raises(UserError, match="edited by hand"):
        PromptSpec.load(path)


ANSWER = '[{"text":"林晓","label":"name"}]'
OTHER = '[{"text":"药","label":"药"}]'
NAMED = Parsed((Mention("name", "林晓"),))


@pytest.mark.parametrize(
    "block",
    [
        "<think></think>",
        "<think>\n\n</think>\n\n",
        " \n<think>想</think>\t",
        f"<think>{OTHER}</think>",
        "<think><think></think>",
        "<think></think>\n<think>想</think>",
        f"想{OTHER}</think>\n\n",
        "\n\n</think>\n\n",
        f"<thinking>{OTHER}</thinking>\n",
    ],
)
def test_a_thinking_block_before_the_answer_is_no_part_of_it(block: str) -> None:
    for end in ("", "\n", "  "):
        assert SPEC.parse(f"{block}{ANSWER}{end}", "林晓用药") == NAMED
        assert SPEC.parse(f"{block}[]{end}", "林晓用药") == Parsed(())


@pytest.mark.parametrize(
    "answer",
    [
        "<think>",
        f"<think>{OTHER}",
        f"\n<think>\n{OTHER}</thin",
        f"<think>{OTHER}</think>",
        "<think></think> ",
        f"{OTHER}</think>",
        f"<think></think><think>{OTHER}",
        f"<thinking>{OTHER}",
    ],
)
def test_items_of_a_thinking_block_are_never_counted(answer: str) -> None:
    assert SPEC.parse(answer, "林晓用药") == Parsed((), ("unparsable",))


@pytest.mark.parametrize(
    "answer",
    [
        f"好<think></think>{ANSWER}",
        f"{ANSWER}<think></think>",
        f"<Think></Think>{ANSWER}",
    ],
)
def test_a_thinking_block_elsewhere_stays_inexact(answer: str) -> None:
    assert SPEC.parse(answer, "林晓用药") == Parsed(NAMED.mentions, ("inexact",))


@given(st.text(), st.sampled_from(["[]", ANSWER, OTHER, "没有", "[{", ""]))
def test_whatever_was_thought_changes_nothing(thought: str, answer: str) -> None:
    if "</think>" not in thought:
        assert SPEC.parse(f"<think>{thought}</think>{answer}", "林晓用药") == SPEC.parse(answer, "林晓用药")


def test_a_thinking_block_is_removed_for_every_form(add_module: Callable[..., Path]) -> None:
    source = (
        "from ner_data.gold import Mention, Parsed\n"
        'NAME, DIRECTIVE, FORMAT = "raw", "", ""\n'
        "render = structured = None\n"
        'def parse(answer, text):\n    return Parsed((Mention("name", answer),))\n'
    )
    add_module(answers, "raw", source)
    spec = replace(SPEC, answer_form="raw")
    assert spec.parse("<think>\n\n</think>\n\nname/林晓\n", "林晓").mentions == (Mention("name", "name/林晓"),)
    assert spec.parse("<think>name/林晓", "林晓") == Parsed((), ("unparsable",))
    assert spec.parse(" name/林晓 ", "林晓").mentions == (Mention("name", " name/林晓 "),)
