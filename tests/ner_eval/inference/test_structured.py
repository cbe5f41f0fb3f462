import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, completion
from ner_common.errors import UserError
from ner_data.answers import form_names
from ner_data.answers.json_list import grammar, schema
from ner_data.gold import Entity, Record
from ner_data.prompt import PromptSpec
from ner_eval.inference.client import Client, run_async
from ner_eval.inference.request import ask, sampling, structured
from ner_eval.runs.predictions import read_predictions
from support import Served

SPEC = PromptSpec("demo", "你是专家。", "请抽取。", ("name", "company"), "json_list", 64)
# Quotes, backslashes, a line break, a control token, a control character, an emoji.
HARD = '林晓在"云帆"\\科\n技<|im_end|>\x01😀'


def test_off_adds_nothing_and_json_adds_the_schema_of_the_labels() -> None:
    assert structured("off", SPEC, "林晓") == {}
    forced = structured("json", SPEC, "林晓")["response_format"]
    assert forced["type"] == "json_schema" and forced["json_schema"]["schema"] == schema(SPEC.labels)
    assert schema(SPEC.labels)["items"]["properties"]["label"]["enum"] == ["name", "company"]


def test_what_a_form_cannot_be_forced_by_is_refused_with_what_can_force_it() -> None:
    with pytest.raises(UserError) as caught:
        structured("choice", SPEC, "林晓")
    assert str(caught.value) == (
        "--structured choice: cannot force the answer form json_list (it can force: none); "
        "use --structured off or json or grammar"
    )


def test_the_grammar_has_a_rule_for_every_character() -> None:
    rules = grammar(("name",), '甲"').splitlines()
    assert rules[2:] == ['label: "\\"name\\""', "surface: c0 | c1", 'c0: "甲" c1?', 'c1: "\\\\\\""']
    assert grammar(("name",), "") == 'start: "[]"\n'


@pytest.mark.serve
def test_both_backends_accept_the_grammar_and_only_stretches_of_the_text(model_folder: Path) -> None:
    import llguidance
    import llguidance.hf
    import xgrammar
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    compiler = xgrammar.GrammarCompiler(info)
    guidance = llguidance.hf.from_tokenizer(tokenizer)

    def taken(text: str, answer: str) -> bool:
        rules = structured("grammar", SPEC, text)["structured_outputs"]["grammar"]
        one = xgrammar.GrammarMatcher(compiler.compile_lark(rules), terminate_without_stop_token=True)
        by_xgrammar = bool(one.accept_string(answer) and one.is_terminated())
        two = llguidance.LLMatcher(guidance, llguidance.grammar_from("grammar", rules))
        assert not two.get_error()
        tokens = guidance.tokenize_str(answer)
        by_guidance = two.try_consume_tokens(tokens) == len(tokens) and two.is_accepting()
        assert by_xgrammar == by_guidance, answer
        return by_xgrammar

    for start in range(len(HARD)):
        for end in range(start + 1, len(HARD) + 1):
            answer = SPEC.render(Record("x", HARD, (Entity(start, end, "name", HARD[start:end]),)))
            assert taken(HARD, answer), answer
    assert taken(HARD, "[]") and taken("", "[]")
    assert taken("甲乙", '[{"text":"甲","label":"name"},{"text":"甲乙","label":"company"}]')
    for wrong in ('{"text":"","label":"name"}', '{"text":"甲","label":"no"}', '{"text":"乙甲","label":"name"}'):
        assert not taken("甲乙", f"[{wrong}]")
    assert not taken("甲", '[{"text":"甲","label":"name"}') and not taken('"', '[{"text":"\\","label":"name"}]')


@pytest.fixture(scope="session")
def taken(model_folder: Path) -> Callable[[dict[str, Any], str], bool]:
    """Whether the fields of a structured request allow an answer; both backends agree."""
    import llguidance
    import llguidance.hf
    import xgrammar
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer)))
    guidance = llguidance.hf.from_tokenizer(tokenizer)

    def taken(fields: dict[str, Any], answer: str) -> bool:
        if rules := fields.get("structured_outputs", {}).get("grammar"):
            compiled, grammar = compiler.compile_lark(rules), llguidance.grammar_from("grammar", rules)
        else:
            schema = json.dumps(fields["response_format"]["json_schema"]["schema"])
            compiled = compiler.compile_json_schema(schema)
            grammar = llguidance.LLMatcher.grammar_from_json_schema(schema)
        one = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
        by_xgrammar = bool(one.accept_string(answer) and one.is_terminated())
        two = llguidance.LLMatcher(guidance, grammar)
        assert not two.get_error()
        tokens = guidance.tokenize_str(answer)
        assert (two.try_consume_tokens(tokens) == len(tokens) and two.is_accepting()) == by_xgrammar, answer
        return by_xgrammar

    return taken


@pytest.mark.serve
@pytest.mark.parametrize("form", form_names())
def test_the_grammar_of_every_form_takes_what_it_renders_and_nothing_made_up(taken, form: str) -> None:
    spec, tried = replace(SPEC, answer_form=form), 0
    fields = structured("grammar", spec, HARD)
    spans = [(start, end) for start in range(len(HARD)) for end in range(start + 1, len(HARD) + 1) if end - start < 6]
    for start, end in spans:
        first = Entity(start, end, "name", HARD[start:end])
        second = Entity(end, len(HARD), "company", HARD[end:])
        for entities in ((first,), (first, second)[: 1 + (end < len(HARD))]):
            assert taken(fields, spec.render(Record("x", HARD, entities))), entities
            tried += 1
    assert tried == 2 * len(spans) > 200
    assert taken(fields, spec.render(Record("x", HARD, ())))
    assert taken(structured("grammar", spec, ""), spec.render(Record("x", "", ())))
    allowed = structured("grammar", spec, "甲乙")
    unknown, elsewhere = Entity(0, 1, "planet", "甲"), Entity(0, 2, "name", "乙甲")
    for text, entity in (("甲乙", unknown), ("乙甲", elsewhere)):
        assert not taken(allowed, spec.render(Record("x", text, (entity,))))


@pytest.mark.serve
def test_the_schema_of_grouped_answers_takes_labels_in_any_order_and_no_other(taken) -> None:
    fields = structured(
        "json", replace(SPEC, labels=("name", "company", "a.b", "中|"), answer_form="json_grouped"), ""
    )
    for right in ('{"name":["甲"],"company":["乙","丙"]}', '{"company":["甲"],"name":["乙"]}', "{}", '{"中|":["甲"]}'):
        assert taken(fields, right)
    for wrong in ('{"planet":["甲"]}', '{"axb":["甲"]}', '{"name":[]}', '{"name":"甲"}', '{"name":[""]}', "[]"):
        assert not taken(fields, wrong)


@pytest.mark.serve
@pytest.mark.parametrize("mode", ["json", "grammar"])
def test_the_server_honours_structured_output(work, ner_eval, server, mode: str) -> None:
    """Whatever the model would otherwise write, its answers have the form, and with a grammar nothing is made up."""
    arguments = ("predict", "--corpus", "demo", "--prompt", "data/alpaca/demo.prompt.json", "--structured", mode)
    ended = ner_eval(*arguments, "--model", server.models[0], "--base-url", server.base_url, "--run", "r")
    assert ended.code == 0, ended.err
    spec = PromptSpec.load(work / "data/alpaca/demo.prompt.json")
    predictions = read_predictions(Path("runs/r"))
    assert all(p.answer.startswith("[") for p in predictions)
    if mode == "grammar":
        texts = {f"demo-test-{n}": f"林{n:02}在云帆科技任经理" for n in range(40)}
        mentions = [(m, texts[p.id]) for p in predictions for m in spec.parse(p.answer, texts[p.id]).mentions]
        assert all(mention.text in text and mention.label in spec.labels for mention, text in mentions)


@pytest.mark.serve
@pytest.mark.parametrize(
    ("form", "mode"),
    [("json_grouped", "json"), ("json_grouped", "grammar"), ("inline", "grammar"), ("lines", "grammar")],
)
def test_the_server_forces_the_other_forms(work, ner_eval, server, form: str, mode: str) -> None:
    """nano was not trained to answer so, and often does not stop; what it writes is in the form all the same."""
    replace(PromptSpec.load(work / "data/alpaca/demo.prompt.json"), answer_form=form).save(work / "form.json")
    arguments = ("predict", "--corpus", "demo", "--prompt", "form.json", "--structured", mode, "--limit", 8)
    ended = ner_eval(*arguments, "--model", server.models[0], "--base-url", server.base_url, "--run", "r")
    assert ended.code == 0, ended.err
    spec, found = PromptSpec.load(work / "form.json"), 0
    for prediction in read_predictions(Path("runs/r")):
        text = f"林{int(prediction.id.split('-')[-1]):02}在云帆科技任经理"
        parsed = spec.parse(prediction.answer, text)
        assert prediction.answer.startswith(tuple({"json_grouped": "{", "inline": "[林", "lines": f"无{text}"}[form]))
        if prediction.finish_reason == "stop":
            assert not parsed.problems
        else:  # the last label may be cut
            parsed = replace(parsed, mentions=parsed.mentions[:-1])
        assert all(mention.label in spec.labels for mention in parsed.mentions)
        assert mode == "json" or all(mention.text and mention.text in text for mention in parsed.mentions)
        found += len(parsed.mentions)
    assert found or mode == "json" or form == "inline"  # a copy of the text may have no marks


def forced(server: str, model: str, form: str) -> tuple[str, list[str]]:
    """An untrained nano's answer to --structured json, and what is said of the server.

    In the form json_grouped nano likes line breaks best after the first label, where JSON may have any number of them.
    """
    spec, said = replace(SPEC, answer_form=form, max_tokens=256), []

    async def asked() -> str:
        async with Client([server], notice=said.append) as client:
            reply = await ask(client, model, spec, "林晓在云帆科技任经理", sampling(spec, "json", False), "a text")
            return reply.answer

    return run_async(asked()), said


def has_optional_white_space(answer: str) -> bool:
    return bool(re.search(r"\s", re.sub(r'"[^"]*"?', "", answer)))


@pytest.mark.serve
@pytest.mark.parametrize("form", ["json_list", "json_grouped"])
def test_our_server_lets_no_model_fill_up_json_with_white_space(server: Served, form: str) -> None:
    """A vLLM that others start does: see `test_real_server`."""
    answer, said = forced(server.base_url, server.models[0], form)
    assert not said and answer.startswith(("[", "{")) and not has_optional_white_space(answer), answer


@pytest.mark.parametrize(
    ("answer", "reason", "found"),
    [
        ("[" + " " * 99, "length", True),
        ("\n" * 99, "length", True),
        ('[{"text":"林\\"晓",' + "\n\t " * 20, "length", True),
        ('[{"text":"林' + " " * 99, "length", False),  # inside a string
        ('[{"text":"林\\"' + " " * 99, "length", False),
        ('[{"text":"林",' + " " * 16, "length", False),  # indentation
        ("[]" + " " * 99, "stop", False),
    ],
)
def test_a_text_whose_answer_is_filled_up_with_white_space_is_asked_for_again_with_a_grammar(
    work, ner_eval, answer: str, reason: str, found: bool
) -> None:
    async def script(server: Faulty, body: dict[str, Any]) -> web.Response:
        return completion("[]") if "structured_outputs" in body else completion(answer, reason)

    arguments = ("predict", "--model", "nano", "--corpus", "demo", "--structured")
    with Faulty(script) as server:
        ended = ner_eval(*arguments, "json", "--run", "runs/r", "--base-url", server.base_url)
        again = sum("structured_outputs" in body for body in server.bodies)
    stored = read_predictions(work / "runs/r")
    assert ended.code == 0 and len(stored) == 40 and again == (40 if found else 0), ended
    assert {one.answer for one in stored} == {"[]" if found else answer}
    assert ended.err.count("fill up its JSON with white space, up to max_tokens") == found


@pytest.mark.parametrize(
    ("mode", "answer", "honoured"),
    [
        ("json", "no idea", False),
        ("json", '[{"text":"林","label":"planet"}]', False),
        ("json", '[{"text":"谁","label":"name"}]', True),
        ("grammar", '[{"text":"谁","label":"name"}]', False),
        ("grammar", '[{"text":"林","label":"name"}]', True),
        ("off", "no idea", True),
    ],
)
def test_a_server_that_ignores_structured_output_is_detected(work, ner_eval, mode, answer, honoured) -> None:
    async def script(server: Faulty, body: dict[str, Any]) -> web.Response:
        return completion(answer)

    with Faulty(script) as server:
        arguments = ("predict", "--model", "nano", "--corpus", "demo", "--base-url", server.base_url)
        ended = ner_eval(*arguments, "--structured", mode)
    assert ended.code == (0 if honoured else 2)
    assert honoured or "ignores --structured" in ended.lines[0]
    assert (
        server.bodies[0].keys() >= {"json": {"response_format"}, "grammar": {"structured_outputs"}, "off": set()}[mode]
    )
    assert "structured" not in json.dumps(list(server.bodies[0])).replace("structured_outputs", "")
