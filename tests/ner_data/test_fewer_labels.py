"""Training records that ask for fewer labels: who they are, what they ask, and that nothing else changes."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_data import PromptSpec, load_corpus, read_gold
from ner_data.alpaca import Options, alpaca
from ner_data.answers.json_list import parse
from ner_data.corpus import write_description
from ner_data.described import Corpus, Label, Split
from ner_data.gold import Entity, Record, write_gold
from ner_data.prompt import EXAMPLE
from support import Result, one_line_error

SOME = Options(drop_labels=0.3, seed=5)
Cli = Callable[..., Result]


@pytest.fixture
def demo(make_demo: Callable[..., None]) -> None:
    make_demo("fetch", "convert")


def items(split: str) -> list[dict[str, str]]:
    loaded: list[dict[str, str]] = json.loads(Path(f"data/alpaca/demo_{split}.json").read_text("utf-8"))
    return loaded


def test_a_share_of_the_training_records_asks_for_fewer_labels(demo: None, cli: Cli) -> None:
    plain, _ = alpaca("demo")
    result = cli("ner-data", "alpaca", "demo", "--drop-labels", "0.3", "--seed", "5")
    assert result.code == 0, result.err
    spec = PromptSpec.load(Path("data/alpaca/demo.prompt.json"))
    gold = list(read_gold(Path("data/gold/demo/train.jsonl")))
    asked = Counter(item["instruction"] for item in items("train"))
    fewer = len(gold) - asked[plain.instruction]
    assert f"note: data/alpaca/demo_train.json: {fewer} of them ask for fewer labels\n" in result.out
    assert abs(fewer / len(gold) - 0.3) < 0.05
    assert asked.keys() == {plain.instruction, *spec.fewer} and len(spec.fewer) == 3
    for split in ("dev", "test"):
        assert {item["instruction"] for item in items(split)} == {plain.instruction}
    # What a model is asked later is the same, and so are the bounds of its answers.
    assert (spec.fingerprint, spec.max_tokens, spec.longest_text) == (
        plain.fingerprint, plain.max_tokens, plain.longest_text,
    )  # fmt: skip
    assert "fewer" not in plain.as_json()


def test_answers_hold_the_labels_that_are_asked_for_and_no_others(demo: None) -> None:
    spec, _ = alpaca("demo", options=SOME)
    named = {label.id: f"{label.id}（{label.name}）" for label in load_corpus("demo").labels}
    asked = {one: {label for label in named if f"{named[label]}" in one} for one in (spec.instruction, *spec.fewer)}
    assert asked[spec.instruction] == set(spec.labels)
    dropped = [set(spec.labels) - asked[one] for one in spec.fewer]
    assert sum(map(len, dropped)) == len(set.union(*dropped)) == len(spec.labels)
    hard = 0
    for item, record in zip(items("train"), read_gold(Path("data/gold/demo/train.jsonl")), strict=True):
        labels = asked[item["instruction"]]
        answered = [(mention.text, mention.label) for mention in parse(item["output"], "").mentions]
        assert answered == [(one.text, one.label) for one in record.gold if one.label in labels]
        assert (item["id"], item["input"]) == (record.id, record.text)
        if item["instruction"] != spec.instruction and record.gold:
            hard += 1
            assert len(answered) < len(record.gold)  # at least one of its own labels was dropped
    assert hard > 100


def test_the_draw_depends_on_the_seed_alone(demo: None) -> None:
    files = []
    for options, workers in ((SOME, 1), (SOME, 2), (Options(drop_labels=0.3, seed=6), 1)):
        alpaca("demo", options=options, workers=workers)
        files.append(Path("data/alpaca/demo_train.json").read_bytes())
    assert files[0] == files[1] != files[2]


def test_with_definitions_and_demonstrations_and_every_record(demo: None) -> None:
    spec, files = alpaca("demo", options=Options(definitions=True, demonstrations=4, drop_labels=1))
    assert files["train"].fewer == files["train"].kept
    answers = EXAMPLE.partition("{text}")[2].partition("{answer}")[0]
    for one in spec.fewer:
        shown = [part.partition("\n")[0] for part in one.split(answers)[1:]]
        assert len(shown) == 4
        labels = {mention.label for answer in shown for mention in parse(answer, "").mentions}
        assert labels and all(f"{label}（" in one.partition("示例")[0] for label in labels)


def test_a_label_of_two_is_dropped_and_of_one_none(workplace: Path, cli: Cli) -> None:
    for name, labels in (("two", ("x", "y")), ("one", ("x",))):
        corpus = Corpus(
            name, name, "here", "CC0", "gold", {"train": Split("a")}, tuple(Label(label, label) for label in labels)
        )
        write_description(corpus)
        write_gold(corpus.gold_file("train"), [Record("1", "甲乙", (Entity(0, 1, "x", "甲"),))])
    spec, files = alpaca("two", options=Options(drop_labels=1))
    assert len(spec.fewer) == 2 and files["train"].fewer == 1
    (item,) = json.loads(files["train"].path.read_text("utf-8"))
    assert "类别：y。" in item["instruction"] and item["output"] == "[]"
    message = one_line_error(cli("ner-data", "alpaca", "one", "--drop-labels", "0.5"))
    assert "one: has one label, so none can be dropped; leave --drop-labels out" in message


def test_the_share_is_at_most_1(demo: None, cli: Cli) -> None:
    message = one_line_error(cli("ner-data", "alpaca", "demo", "--drop-labels", "1.5"))
    assert "--drop-labels 1.5: the share of the training records, above 0 and at most 1" in message
    assert not Path("data/alpaca").exists()
