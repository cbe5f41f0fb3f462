"""What a prompt may hold in addition: definitions, demonstrations, and the text twice."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, completion
from ner_common.errors import UserError
from ner_data.alpaca import Options, alpaca, build_spec
from ner_data.answers import form_names
from ner_data.corpus import load_corpus
from ner_data.demonstrations import draw
from ner_data.described import Corpus, Label
from ner_data.gold import Entity, Record, read_gold, write_gold
from ner_data.prompt import AGAIN, PromptSpec, instruction
from ner_eval.runs.manifest import differing_field, read_manifest
from support import Result, one_line_error

Cli = Callable[..., Result]
Make = Callable[..., None]
SPEC = Path("data/alpaca/demo.prompt.json")
ALL = Options(definitions=True, demonstrations=4, seed=3, repeat_text=True)


def records(split: str) -> list[Record]:
    return list(read_gold(Path(f"data/gold/demo/{split}.jsonl")))


def items(split: str) -> list[dict[str, str]]:
    loaded: list[dict[str, str]] = json.loads(Path(f"data/alpaca/demo_{split}.json").read_text("utf-8"))
    return loaded


def test_every_option_changes_the_fingerprint_and_none_leaves_it_as_it_was(make_demo: Make) -> None:
    make_demo("fetch", "convert")
    options = [
        Options(),
        Options(definitions=True),
        Options(demonstrations=6),
        Options(demonstrations=6, seed=1),
        Options(demonstrations=7),
        Options(repeat_text=True),
        ALL,
    ]
    specs = [alpaca("demo", options=option)[0] for option in options]
    assert specs[0].fingerprint == "6123138abaf67757" and "again" not in specs[0].as_json()
    assert len({spec.fingerprint for spec in specs}) == len(options)
    assert PromptSpec.load(SPEC) == specs[-1]
    assert alpaca("demo", options=ALL)[0] == specs[-1]


def test_definitions_are_listed_with_the_labels() -> None:
    labels = [("name", "姓名"), ("药", "药"), ("x", "其他")]
    shown = instruction(labels, "json_list", definitions=["人名，\n包括称号", "", "<|im_end|>"])
    assert "类别：\nname（姓名）：人名， 包括称号；\n药；\nx（其他）：< |im_end|>。\n规则：" in shown


@pytest.mark.parametrize("form", form_names())
def test_demonstrations_show_every_label_and_are_read_as_they_were_written(make_demo: Make, form: str) -> None:
    make_demo("fetch", "convert")
    labels, texts = {label.id for label in load_corpus("demo").labels}, {r.text for r in records("train")}
    gold = {split: records(split) for split in ("train", "dev", "test")}
    tried = 0
    for seed in range(10):
        for count in (4, 5, 8, 12):
            chosen = draw(load_corpus("demo"), gold, count, seed)
            assert len({record.text for record in chosen}) == count and {r.text for r in chosen} <= texts
            assert {entity.label for record in chosen for entity in record.gold} == labels
            tried += 1
    assert tried == 40
    spec, _ = alpaca("demo", form=form, options=Options(demonstrations=4))
    for record in draw(load_corpus("demo"), gold, 4, 0):
        answer = spec.render(record)
        assert f"文本：\n{record.text}\n答案：\n{answer}\n" in spec.instruction
        assert not spec.parse(answer, record.text).problems
    assert spec.instruction.endswith("请仿照示例，只输出下面文本的答案。\n文本：")


def test_what_is_shown_is_not_trained_on_and_is_counted(make_demo: Make, cli: Cli) -> None:
    make_demo("fetch", "convert")
    copies = [replace_id(record, f"copy-{n}") for n, record in enumerate(records("train"))]
    write_gold(Path("data/gold/demo/train.jsonl"), [*records("train"), *copies])
    result = cli("ner-data", "alpaca", "demo", "--demonstrations", 5, "--seed", 2)
    assert "demo_train.json: read 4000, kept 3990, rejected 10 (no gold 0, demonstrations 10)\n" in result.out
    assert "demo_dev.json: read 200, kept 200, rejected 0 (no gold 0)\n" in result.out
    shown = items("train")[0]["instruction"]
    trained = {item["input"] for item in items("train")}
    assert len(items("train")) == 3990 and not [text for text in trained if f"文本：\n{text}\n答案" in shown]


def replace_id(record: Record, id: str) -> Record:
    return Record(id, record.text, record.entities)


def test_no_text_of_another_split_is_shown(make_demo: Make) -> None:
    make_demo("fetch", "convert")
    train = records("train")
    gold = {"train": train, "dev": [replace_id(r, f"d{r.id}") for r in train[100:]], "test": []}
    drawn = draw(load_corpus("demo"), gold, 20, 0)
    assert {record.id for record in drawn} <= {record.id for record in train[:100]}


def test_a_text_with_control_tokens_is_shown_as_text() -> None:
    text = "甲<|im_end|>乙"
    shown = instruction(
        [("a", "a")], "inline", demonstrations=[Record("r", text, (Entity(1, 11, "a", "<|im_end|>"),))]
    )
    assert "文本：\n甲< |im_end|>乙\n答案：\n甲[< \\|im_end\\|>|a]乙\n" in shown and "<|" not in shown


def test_the_text_is_given_twice_in_items_and_messages_alike(make_demo: Make) -> None:
    make_demo("fetch", "convert")
    spec, _ = alpaca("demo", options=ALL)
    for item, record in zip(items("test"), records("test"), strict=True):
        assert item["input"] == f"{record.text}\n{AGAIN}\n{record.text}"
        system, user = spec.messages(record.text)
        assert (item["system"], f"{item['instruction']}\n{item['input']}") == (system["content"], user["content"])
    assert spec.user_text("<|a\n乙").endswith(f"文本：\n< |a\n乙\n{AGAIN}\n< |a\n乙")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--demonstrations", 2000), "demo: 2000 demonstrations leave nothing to train on: its training split has"),
        (("--demonstrations", 1), "demo: 1 demonstrations cannot show its 10 labels; ask for"),
    ],
)
def test_demonstrations_that_a_corpus_cannot_give_are_refused(
    make_demo: Make, cli: Cli, arguments: tuple[Any, ...], line: str
) -> None:
    make_demo("fetch", "convert")
    assert one_line_error(cli("ner-data", "alpaca", "demo", *arguments)).startswith(f"ner-data: {line}")
    assert not Path("data/alpaca").exists()


def test_a_label_that_no_record_has_is_named(make_demo: Make, cli: Cli) -> None:
    make_demo("fetch", "convert")
    kept = [r for r in records("train") if not {e.label for e in r.gold} & {"movie", "book"}]
    write_gold(Path("data/gold/demo/train.jsonl"), kept)
    message = one_line_error(cli("ner-data", "alpaca", "demo", "--demonstrations", 12))
    assert message == (
        "ner-data: demo: no record of its training split can show book, movie, and drawn demonstrations show every "
        "label; ask for none"
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_labels_that_no_choice_can_show_together_are_refused(count: int) -> None:
    corpus = Corpus("mine", "", "", "", "gold", {}, (Label("a", "a"), Label("b", "b")))
    shown = [Record(label, "甲", (Entity(0, 1, label, "甲"),)) for label in "ab"]  # of one text, which is shown once
    train = [*shown, *(Record(text, text, ()) for text in "乙丙丁")]
    with pytest.raises(UserError) as refused:
        draw(corpus, {"train": train}, count, seed=1)
    assert str(refused.value) == (
        f"mine: {count} demonstrations cannot show its 2 labels; nor can more, with some left to train on; ask for none"
    )


@pytest.mark.parametrize("count", ["0", "-1", "x", "1.5"])
def test_a_count_that_is_none_is_refused_by_the_command_line(workplace: Path, cli: Cli, count: str) -> None:
    result = cli("ner-data", "alpaca", "demo", "--demonstrations", count)
    assert result.code == 2 and f"invalid positive int value: '{count}'" in result.err.splitlines()[-1]


def test_a_negative_count_is_refused_by_the_function(make_demo: Make) -> None:
    make_demo("fetch", "convert")
    with pytest.raises(UserError, match="-1 demonstrations: ask for 1 or more, or for none"):
        alpaca("demo", options=Options(demonstrations=-1))


def test_definitions_of_a_corpus_that_has_none_are_refused(make_demo: Make, cli: Cli) -> None:
    make_demo("fetch", "convert")
    path = Path("data/corpora/demo.yaml")
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join(line.split(", definition:")[0] + "}" * (", def" in line) for line in lines), "utf-8")
    assert one_line_error(cli("ner-data", "alpaca", "demo", "--definitions")) == (
        "ner-data: data/corpora/demo.yaml: no label has a definition; add some, or leave --definitions out"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"again": "再读："}, "edited by hand"),
        ({"again": "再" * 101}, "not a prompt spec (again: "),
        ({"again": 1}, "not a prompt spec (again: expected str, got int)"),
        ({"repeat_text": True}, "has the unknown field 'repeat_text'"),
    ],
)
def test_an_edited_option_is_refused(make_demo: Make, change: dict[str, Any], words: str) -> None:
    make_demo()
    value = json.loads(SPEC.read_text("utf-8"))
    SPEC.write_text(json.dumps(value | change), "utf-8")
    with pytest.raises(UserError) as caught:
        PromptSpec.load(SPEC)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_is_asked_with_all_options(make_demo: Make, cli: Cli, tmp_path: Path) -> None:
    """By predict, by its batch file, by extract and by the command that extract prints."""
    make_demo("fetch", "convert")
    spec, _ = alpaca("demo", form="lines", options=ALL)
    texts = [record.text for record in records("test")[:3]]
    wanted = [spec.messages(text) for text in texts]
    (tmp_path / "a.txt").write_text("\n".join(texts), "utf-8")
    asked = ("--model", "nano", "--prompt", SPEC)

    async def script(server: Faulty, body: dict[str, Any]) -> web.Response:
        return completion("无")

    with Faulty(script) as server:
        where = (*asked, "--base-url", server.base_url, "--wait", 0, "--concurrency", 1)
        assert cli("ner-eval", "predict", *where, "--corpus", "demo", "--limit", 3, "--run", "r").code == 0
        assert cli("ner-eval", "extract", "a.txt", *where).code == 0
    assert [body["messages"] for body in server.bodies] == wanted * 2
    batch = ("--corpus", "demo", "--limit", 3, "--batch", "--run", "b")
    assert cli("ner-eval", "predict", *asked, *batch).code == 0
    lines = Path("runs/b/batch-requests.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["body"]["messages"] for line in lines] == wanted
    printed = cli("ner-eval", "extract", "a.txt", *asked, "--dry-run").out
    assert printed.count(AGAIN) == 3
    assert read_manifest(Path("runs/r")).prompt == spec


def test_a_run_is_not_continued_with_another_option(make_demo: Make, cli: Cli) -> None:
    make_demo("fetch", "convert")
    alpaca("demo", options=Options(repeat_text=True))
    batch = ("--model", "nano", "--prompt", SPEC, "--corpus", "demo", "--limit", 3, "--batch", "--run", "b")
    assert cli("ner-eval", "predict", *batch).code == 0
    stored = read_manifest(Path("runs/b"))
    for options in (Options(), Options(definitions=True, repeat_text=True)):
        changed = "instruction" if options.definitions else "again"
        alpaca("demo", options=options)
        message = one_line_error(cli("ner-eval", "predict", *batch))
        assert f"this run differs in prompt ({changed}): stored {stored.prompt.fingerprint}" in message
    once = replace(stored.prompt, again="")
    assert once.fingerprint == "6123138abaf67757"
    assert (differing_field(stored, stored) is None) and "again" in stored.prompt.as_json()


@pytest.mark.parametrize("form", [name for name in form_names() if name != "json_list"])
def test_a_model_is_not_asked_for_a_form_that_it_was_not_trained_with(make_demo: Make, cli: Cli, form: str) -> None:
    make_demo()
    PromptSpec.load(SPEC).save(Path("adapter/ner_prompt.json"))
    alpaca("demo", form=form)
    asked = ("--model", "nano", "--corpus", "demo", "--adapter", "adapter", "--prompt", SPEC, "--batch", "--run", "b")
    assert one_line_error(cli("ner-eval", "predict", *asked)) == (
        f"ner-eval: {SPEC}: the model was trained to answer as json_list; use --allow-other-prompt to ask anyway"
    )
    assert not Path("runs").exists()


def test_bounds_come_from_what_is_left_to_train_on(make_demo: Make) -> None:
    make_demo("fetch", "convert")
    train = [r for r in records("train") if len(r.text) < 20]
    spec = build_spec(load_corpus("demo"), train, "json_list", ALL, records("train")[:2])
    assert spec.longest_text == max(len(record.text) for record in train)
