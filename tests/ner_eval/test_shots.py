"""`ner-eval predict --shots`: which demonstrations a model is asked with, and that a run knows it."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from faulty import Faulty, failure
from ner_data.alpaca import build_spec
from ner_data.answers import form_names
from ner_data.corpus import load_corpus
from ner_data.demonstrations import Nearest
from ner_data.gold import Entity, Record, read_gold, write_gold
from ner_data.near_duplicates import bigrams, similarity
from ner_data.prompt import PromptSpec
from ner_eval.publish import prompt_facts
from ner_eval.published import Prompted
from ner_eval.runs.manifest import read_manifest
from ner_eval.runs.predictions import read_predictions
from support import one_line_error

PREDICT = ("predict", "--model", "nano", "--corpus", "demo", "--wait", "0", "--run", "r")
GOLD, SPEC, RUN = Path("data/gold/demo"), "data/alpaca/demo.prompt.json", Path("runs/r")


@pytest.fixture
def train(work: Path) -> list[Record]:
    """A training split that shows every label; ten of its texts are also asked, two have no gold."""
    labels = [label.id for label in load_corpus("demo").labels]
    records = [Record(f"t-{n}", f"甲{n}乙丙", (Entity(0, 1, labels[n % len(labels)], "甲"),)) for n in range(30)]
    records += [Record(f"n-{n}", f"王{n:02}在云帆科技任职", (Entity(0, 3, "name", f"王{n:02}"),)) for n in range(20)]
    copies = list(read_gold(GOLD / "test.jsonl"))[:10]
    records += [Record(f"c-{record.id}", record.text, record.entities) for record in copies]
    records += [Record("u-1", "林01在云帆科技任经", None), Record("u-2", "林02在云帆科技任经", None)]
    write_gold(GOLD / "train.jsonl", records)
    return records


def shown(body: dict[str, Any]) -> tuple[list[str], str]:
    """The texts of a request's demonstrations, and the text that it asks for."""
    *texts, asked = body["messages"][1]["content"].split("文本：\n")[1:]
    return [text.split("\n答案：\n")[0] for text in texts], asked


def test_each_text_is_asked_with_those_most_like_it_the_most_similar_last(train, ner_eval) -> None:
    able = [record for record in train if record.id[0] in "tn"]
    with Faulty() as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--shots", 3)
    assert ended.code == 0, ended.err
    assert "--shots 3: chosen from 50 records of train (left out: 10 with a text of test, 2 without gold)" in ended.err
    spec = PromptSpec.load(Path(SPEC))
    by_text = {record.text: record for record in train}
    assert len(server.bodies) == 40
    for body in server.bodies:
        texts, asked = shown(body)
        alike = [similarity(bigrams(record.text), bigrams(asked)) for record in able]
        got = [similarity(bigrams(text), bigrams(asked)) for text in texts]
        assert got == sorted(alike)[-3:] and all(text.startswith("王") for text in texts)
        assert body["messages"] == spec.showing([by_text[text] for text in texts]).messages(asked)
    # What was asked is the prompt of the corpus, which is scored as ever.
    assert read_manifest(RUN).prompt == spec and ner_eval("score", "r").code == 0


def test_fixed_ones_are_the_same_for_all_texts_and_show_every_label(train, ner_eval) -> None:
    arguments = (*PREDICT, "--shots", 12, "--shots-from", "fixed", "--limit", 5)
    with Faulty() as server:
        for seed in (0, 0, 1):
            assert ner_eval(*arguments, "--base-url", server.base_url, "--seed", seed).code == 0
            shutil.rmtree(RUN)
    first, again, other = ({tuple(shown(body)[0]) for body in server.bodies[n : n + 5]} for n in (0, 5, 10))
    assert len(first) == 1 and first == again != other
    labels = {e.label for record in train if record.text in min(first) for e in record.entities or ()}
    assert labels == {label.id for label in load_corpus("demo").labels}
    assert not set(min(first)) & {record.text for record in read_gold(GOLD / "test.jsonl")}


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (("--shots", 4), "shots.count: stored 3, asked for 4"),
        (("--shots", 0), "shots.count: stored 3, asked for None"),
        (("--shots-from", "fixed"), "shots.method: stored 'nearest', asked for 'fixed'"),
        ("gold", "shots.gold_sha256: stored"),
    ],
)
def test_a_run_is_continued_with_the_same_shots_only(train, ner_eval, change, difference, complete) -> None:
    with Faulty() as server:
        asked = (*PREDICT, "--base-url", server.base_url, "--shots", 3)
        assert ner_eval(*asked).code == 0
        if not complete:
            lines = (RUN / "predictions.jsonl").read_bytes().splitlines(keepends=True)
            (RUN / "predictions.jsonl").write_bytes(b"".join(lines[:30]))
        before = (RUN / "predictions.jsonl").read_bytes()
        if change == "gold":
            write_gold(GOLD / "train.jsonl", train[1:])
            change = ()
        ended = ner_eval(*asked, *change)
        assert ended.code == 2 and difference in ended.lines[0] and len(ended.lines) == 1
        assert (RUN / "predictions.jsonl").read_bytes() == before and len(server.bodies) == 40
        write_gold(GOLD / "train.jsonl", train)
        assert ner_eval(*asked).code == 0
    assert len(server.bodies) == (40 if complete else 50)
    # A run without shots is not continued with some either, and its manifest is as it always was.
    with Faulty() as server:
        plain = (*PREDICT[:-1], "plain", "--base-url", server.base_url)
        assert ner_eval(*plain).code == 0 and "shots" not in json.loads(Path("runs/plain/manifest.json").read_text())
        assert "shots.count: stored None, asked for 3" in ner_eval(*plain, "--shots", 3).lines[0]


def test_offline_requests_are_those_a_server_gets(train, ner_eval) -> None:
    asked = (*PREDICT[:-2], "--shots", 3)
    assert ner_eval(*asked, "--batch").code == 0
    requests = Path("runs/nano-demo-test-nearest3/batch-requests.jsonl").read_text().splitlines()
    with Faulty() as server:
        ner_eval(*asked, "--run", "online", "--concurrency", 1, "--base-url", server.base_url)
    assert [json.loads(line)["body"] for line in requests] == server.bodies


def test_a_prompt_that_is_too_long_is_a_refusal_like_any_other(train, ner_eval) -> None:
    async def short(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        return failure(400, "maximum context length") if shown(body)[1].startswith("林1") else None

    with Faulty(short) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--shots", 3, "--concurrency", 2)
    assert ended.code == 1 and "refused 10 of 40 records" in ended.lines[0] and "--max-model-len" in ended.lines[0]
    assert sum(bool(prediction.error) for prediction in read_predictions(RUN)) == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--shots", 50), "demo: --shots 50: its training split has 50 different texts to choose from (left out: 10 with"),
        (("--shots", -1), "--shots -1 --shots-from nearest: ask for 0 or more"),
        (("--shots", 2, "--shots-from", "fixed"), "demo: 2 demonstrations cannot show its 10 labels; ask for"),
        (("--shots", 3, "--adapter", "adapter"), "adapter: the model was trained with the prompt in its ner_prompt.json"),
        (("--shots", 3, "--prompt", "shown.json"), "--shots 3: its prompt shows 1 demonstrations already; leave --shots"),
        (("--shots", 3, "--prompt", "other.json"), "--shots 3: its instruction does not end with 文本：, so"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("batch", [(), ("--batch",)])
def test_shots_that_cannot_be_given_are_refused_before_anything_is_asked(
    train, ner_eval, arguments: tuple[object, ...], words: str, batch: tuple[str, ...]
) -> None:
    spec = PromptSpec.load(Path(SPEC))
    spec.save(Path("adapter/ner_prompt.json"))
    spec.showing(train[:1]).save(Path("shown.json"))
    PromptSpec(**{name: getattr(spec, name) for name in spec.__slots__} | {"instruction": "抽取"}).save(
        Path("other.json")
    )
    with Faulty() as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, *arguments, *batch)
        assert ended.code == 2 and len(ended.lines) == 1 and words in ended.lines[0], ended
        assert not Path("runs").exists() and not server.bodies
        if "adapter" in arguments:
            assert ner_eval(*PREDICT, "--base-url", server.base_url, *arguments, "--allow-other-prompt").code == 0


def test_a_corpus_without_a_training_split_or_its_file_has_nothing_to_show(work, ner_eval, cli) -> None:
    assert one_line_error(cli("ner-eval", *PREDICT, "--shots", 3)) == (
        "ner-eval: data/gold/demo/train.jsonl: no such file; run `make data CORPUS=demo`, or leave --shots out"
    )
    path = Path("data/corpora/demo.yaml")
    path.write_text("\n".join(line for line in path.read_text("utf-8").splitlines() if "train:" not in line), "utf-8")
    assert "demo: has no training split with gold that --shots could show" in one_line_error(
        cli("ner-eval", *PREDICT, "--shots", 3)
    )


def test_the_table_of_results_and_the_report_say_what_was_shown(train, ner_eval) -> None:
    shown = {}
    with Faulty() as server:
        for how in ("nearest", "fixed"):
            arguments = (*PREDICT[:-1], how, "--base-url", server.base_url, "--shots", 12, "--shots-from", how)
            assert ner_eval(*arguments).code == 0 and ner_eval("score", how).code == 0
            shown[how] = Prompted(**prompt_facts(read_manifest(Path("runs") / how))).options()
    assert shown == {
        "nearest": "12 demonstrations most like each text",
        "fixed": "12 demonstrations not trained with",
    }
    assert ner_eval("report", "nearest", "--no-png", "--lang", "en").code == 0
    assert '{"say":"shots_nearest","with":{"n":12,"seed":null}}' in Path("runs/nearest/report.html").read_text("utf-8")


def test_shots_stand_where_demonstrations_of_the_training_prompt_stand(train) -> None:
    corpus, gold = load_corpus("demo"), [record for record in train if record.entities is not None]
    for form in form_names():
        plain = build_spec(corpus, gold, form)
        assert (
            plain.showing(gold[:4]).instruction == build_spec(corpus, gold, form, demonstrations=gold[:4]).instruction
        )
        assert plain.showing(()) == plain


@settings(deadline=None)
@given(st.lists(st.text("甲乙丙 aA", max_size=8), min_size=1, max_size=20), st.text("甲乙丙 aA", max_size=8))
def test_the_nearest_are_those_that_a_comparison_with_all_finds(texts: Sequence[str], text: str) -> None:
    found = [record.text for record in Nearest(Record(str(n), one, ()) for n, one in enumerate(texts))(text, 5)]
    assert len(set(found)) == len(found) == min(5, len(set(texts)))
    best = sorted((similarity(bigrams(one), bigrams(text)) for one in set(texts)), reverse=True)
    assert [similarity(bigrams(one), bigrams(text)) for one in reversed(found)] == pytest.approx(best[:5])
