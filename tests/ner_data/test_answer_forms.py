"""A new answer form is one new file: data, training file, stubbed answers, scores and structured requests follow."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, completion
from ner_common.errors import UserError
from ner_data import PromptSpec, answers
from ner_data.alpaca import build_spec
from ner_data.answers import MEMBERS, form_names, load_form
from ner_data.corpus import load_corpus
from ner_data.gold import Entity, read_gold
from ner_eval import score
from ner_eval.metrics.counts import micro
from ner_eval.metrics.protocols import SPAN, TEXT
from support import ROOT, Result, one_line_error

ROWS = '''"""One line per mention: 姓名/林晓."""
from ner_data.gold import Mention, Parsed

NAME = "rows"
DIRECTIVE = "每行写一个实体"
FORMAT = "类别/实体"

def render(text, entities):
    return "\\n".join(f"{entity.label}/{entity.text}" for entity in entities) or "无"

def parse(answer, text):
    rows = [line.partition("/") for line in answer.splitlines() if line != "无"]
    return Parsed(tuple(Mention(label, surface) for label, _, surface in rows), () if answer else ("unparsable",))

def structured(mode, labels, text):
    return {"structured_outputs": {"regex": f"({'|'.join(labels)})/.+"}} if mode == "grammar" else None
'''
RAW = [
    {"text": "林晓在云帆科技", "label": {"name": {"林晓": [[0, 1]]}, "company": {"云帆科技": [[3, 6]]}}},
    {"text": "周舟来了", "label": {"name": {"周舟": [[0, 1]]}}},
    {"text": "今天没有人", "label": {}},
]
RIGHT = {"林晓在云帆科技": "name/林晓\ncompany/云帆科技", "周舟来了": "name/周舟", "今天没有人": "无"}

Cli = Callable[..., Result]
AddModule = Callable[..., Path]


@pytest.fixture
def rows(workplace: Path, raw: Callable[..., Path], cli: Cli, add_module: AddModule) -> PromptSpec:
    """The form `rows`, and training files of the corpus `demo` in it."""
    add_module(answers, "rows", ROWS)
    content = "".join(json.dumps(line) + "\n" for line in RAW).encode()
    for command in (
        ("convert", "demo", "--raw", raw(train=content, test=content)),
        ("alpaca", "demo", "--form", "rows"),
    ):
        result = cli("ner-data", *command)
        assert result.code == 0, result.err
    return PromptSpec.load(Path("data/alpaca/demo.prompt.json"))


def predict(cli: Cli, wrong: dict[str, str], *arguments: str) -> tuple[Result, list[dict[str, Any]]]:
    """Ask a server whose answers are right except for ``wrong``; also returns what it was asked."""

    async def script(server: Faulty, body: dict[str, Any]) -> web.Response:
        return completion((RIGHT | wrong)[server.asked[-1]])

    with Faulty(script) as server:
        where = ("--corpus", "demo", "--model", "nano", "--base-url", server.base_url, "--run", "r", "--wait", "0")
        return cli("ner-eval", "predict", *where, *arguments), server.bodies


def test_the_training_file_and_the_prompt_are_in_the_new_form(rows: PromptSpec) -> None:
    items = json.loads(Path("data/alpaca/demo_train.json").read_text(encoding="utf-8"))
    assert {item["input"]: item["output"] for item in items} == RIGHT
    assert rows.answer_form == "rows"
    assert rows.instruction.startswith("请从文本中抽取命名实体，每行写一个实体。\n")
    assert "没有实体时输出 无。\n格式：类别/实体\n" in rows.instruction
    assert "JSON" not in rows.instruction and "[]" not in rows.instruction
    assert all(item["instruction"] == rows.instruction for item in items)


def test_answers_in_the_new_form_are_scored(rows: PromptSpec, cli: Cli) -> None:
    result, bodies = predict(cli, {"周舟来了": "company/周舟"})
    assert result.code == 0, result.err
    assert all(body["messages"][1]["content"].startswith(rows.instruction) for body in bodies)
    counts = micro(score("runs/r").counts(TEXT, "strict"))
    assert (counts.tp, counts.fp, counts.fn) == (2, 1, 1)


def test_a_structured_request_is_what_the_new_form_says(rows: PromptSpec, cli: Cli) -> None:
    result, bodies = predict(cli, {}, "--structured", "grammar")
    assert result.code == 0, result.err
    assert all(body["structured_outputs"] == {"regex": f"({'|'.join(rows.labels)})/.+"} for body in bodies)


def test_a_form_that_cannot_be_forced_is_refused_before_anything_is_asked_or_written(
    rows: PromptSpec, cli: Cli
) -> None:
    result, bodies = predict(cli, {}, "--structured", "json")
    assert one_line_error(result) == (
        "ner-eval: --structured json: cannot force the answer form rows (it can force: json_grouped, json_list); "
        "use --structured off or grammar"
    )
    assert not bodies and not Path("runs").exists()


def test_the_command_line_offers_every_form(workplace: Path, cli: Cli, add_module: AddModule) -> None:
    assert (
        "invalid choice: 'rows' (choose from 'inline', 'json_grouped', 'json_list', 'lines')"
        in cli("ner-data", "alpaca", "demo", "--form", "rows").err
    )
    add_module(answers, "rows", ROWS)
    assert "{inline,json_grouped,json_list,lines,rows}" in cli("ner-data", "alpaca", "--help").out


@pytest.mark.parametrize("member", MEMBERS)
def test_a_form_that_lacks_something_is_named_with_what_it_lacks(
    raw: Callable[..., Path], cli: Cli, add_module: AddModule, member: str
) -> None:
    assert cli("ner-data", "convert", "demo", "--raw", raw()).code == 0
    path = add_module(answers, "rows", f"{ROWS}\ndel {member}\n")
    message = one_line_error(cli("ner-data", "alpaca", "demo", "--form", "rows"))
    assert message.endswith(f"{path.name}: an answer form also needs {member}; see AnswerForm in ner_data.answers")
    assert not Path("data/alpaca").exists()


def test_the_name_of_a_form_is_that_of_its_file(add_module: AddModule) -> None:
    add_module(answers, "columns", ROWS)
    with pytest.raises(UserError, match=r"columns\.py: NAME is 'rows'; it must be 'columns'"):
        load_form("columns")


def test_every_form_of_the_repository_can_be_loaded() -> None:
    assert form_names()
    for name in form_names():
        form = load_form(name)
        assert form.render("", ()) and "\n" not in form.FORMAT


def test_the_documentation_shows_every_form_as_it_is_written() -> None:
    (block,) = re.findall(
        r"```text\n(# json_list.*?)```", (ROOT / "docs/en/reference/answer-forms.md").read_text("utf-8"), re.DOTALL
    )
    shown = {name: answer.strip() for name, answer in re.findall(r"# (\w+).*\n((?:[^#].*\n)+)", block)}
    entities = (Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技"))
    assert shown == {name: load_form(name).render("林晓在云帆科技任职", entities) for name in form_names()}


def test_the_committed_ceilings_are_what_the_forms_reach(shared: Path, workplace: Path, cli: Cli) -> None:
    bench = runpy.run_path(str(ROOT / "tests/bench/answer_forms.py"))
    found = {}
    for corpus, split in bench["CORPORA"].items():
        assert cli("ner-data", "convert", corpus, "--raw", shared / "data" / corpus).code == 0
        records = list(read_gold(Path(f"data/gold/{corpus}/{split}.jsonl")))
        for form in form_names():
            spec = build_spec(load_corpus(corpus), records, form)
            found[corpus, form] = [f"{bench['ceiling'](spec, records, way):.4f}" for way in (TEXT, SPAN)]
    rows = {}
    for section in (ROOT / "docs/answer_forms.md").read_text("utf-8").split("\n## ")[1:]:
        for line in section.splitlines():
            cells = line.strip("| ").split(" | ")
            if len(cells) == 9 and cells[0].startswith("`"):
                rows[section.split("\n")[0], cells[0].strip("`")] = [cells[4], cells[6]]
    assert rows == found and len(found) == 8


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(UserError, match="river: no such answer form; known: inline, json_grouped, json_list, lines"):
        load_form("river")
