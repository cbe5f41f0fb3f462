"""``ner-eval export``: predictions become labelled data where scoring finds them; what is not written is counted."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty
from ner_data.formats import load_format
from ner_data.gold import Entity, Record, read_gold
from ner_data.source import Source
from ner_eval import export
from ner_eval.runs.predictions import Prediction
from scored_answers import scored

RECORDS = (
    Record("t-1", "林晓在云帆科技任经理", (Entity(0, 2, "name", "林晓"),), "test.json:1"),
    Record("t-2", "周舟见周舟", None),
    Record("t-3", "今天没有人", ()),
)
ANSWERS = {
    "t-1": '[{"text":"云帆","label":"company"},{"text":"林晓","label":"name"}]',
    "t-2": '[{"text":"周舟","label":"name"},{"text":"周舟","label":"name"}]',
    "t-3": "[]",
}
PREDICTED = [
    Record(
        "t-1", "林晓在云帆科技任经理", (Entity(0, 2, "name", "林晓"), Entity(3, 5, "company", "云帆")), "test.json:1"
    ),
    Record("t-2", "周舟见周舟", (Entity(0, 2, "name", "周舟"), Entity(3, 5, "name", "周舟"))),
    Record("t-3", "今天没有人", ()),
]


def test_predictions_are_written_as_gold_with_or_without_gold_of_their_own(workplace, make_run, ner_eval) -> None:
    make_run(RECORDS, ANSWERS)
    ended = ner_eval("export", "./run", "--format", "gold", "--output", "out")
    assert (ended.code, ended.out) == (0, "out/test: read 3, kept 3, rejected 0\n"), ended.err
    assert list(read_gold(Path("out/test.jsonl"))) == PREDICTED


def test_what_cannot_be_written_is_counted(workplace, make_run, ner_eval) -> None:
    items = [("林晓", "name"), ("林晓", "name"), ("月亮", "name"), ("林晓", "planet"), ("经理", "company")]
    answer = json.dumps([{"text": text, "label": label} for text, label in items], ensure_ascii=False)
    folder = make_run(RECORDS, {"t-1": f"```\n{answer}\n```", "t-3": "[]"})
    with (folder / "predictions.jsonl").open("ab") as file:
        file.write(Prediction.refused("t-2", "too long").as_line())
    ended = ner_eval("export", "./run", "--format", "gold", "--output", "out")
    assert ended.out == (
        "out/test: read 2, kept 2, rejected 0\n"
        "note: records that are not written: 1 (refused by the server 1)\n"
        "note: mentions that are not written: 3 (repeated 1; not in the text 1; label that was not asked for 1)\n"
    )
    first, _ = read_gold(Path("out/test.jsonl"))
    assert first.entities == (Entity(0, 2, "name", "林晓"), Entity(8, 10, "company", "经理"))


def test_a_run_that_is_not_complete(workplace, make_run, ner_eval) -> None:
    make_run(RECORDS, {"t-1": ANSWERS["t-1"]})
    ended = ner_eval("export", "./run", "--format", "gold", "--output", "out")
    assert ended.code == 2
    assert ended.lines == [
        "ner-eval: run: 2 of 3 records have no answer yet; run the same `ner-eval predict` again, or use --partial"
    ]
    assert not Path("out").exists()
    ended = ner_eval("export", "./run", "--format", "gold", "--output", "out", "--partial")
    assert ended.out == (
        "out/test: read 1, kept 1, rejected 0\nnote: records that are not written: 2 (no answer yet 2)\n"
    )


def test_nested_predictions_in_a_flat_format(workplace, make_run, ner_eval) -> None:
    make_run(RECORDS[:1], {"t-1": '[{"text":"云帆","label":"name"},{"text":"云帆科技","label":"company"}]'})
    words = ("export", "./run", "--format", "bio", "--output", "out")
    ended = ner_eval(*words)
    assert ended.code == 2
    (line,) = ended.lines
    assert "t-1 (test.json:1): bio cannot hold it: has nested or crossing mentions; use --nested outermost" in line
    assert not Path("out").exists()
    ended = ner_eval(*words, "--nested", "outermost")
    assert ended.out == "out/test: read 1, kept 1, rejected 0; nested or crossing mentions left out: 1\n"
    assert Path("out/test.txt").read_text("utf-8").startswith("林 O\n晓 O\n在 O\n云 B-company\n帆 I-company\n")


def test_a_format_judges_what_is_left_of_nested_mentions(workplace, make_run, ner_eval) -> None:
    make_run(RECORDS[:1], {"t-1": '[{"text":"林晓在","label":"name"},{"text":"晓在云帆","label":"company"}]'})
    words = ("export", "./run", "--format", "alpaca", "--option", "form=inline", "--output", "out")
    assert "its answer would be read back with other mentions" in ner_eval(*words).lines[0]
    ended = ner_eval(*words, "--nested", "outermost")
    assert ended.out == "out/test: read 1, kept 1, rejected 0; nested or crossing mentions left out: 1\n"


@pytest.mark.parametrize("format", ["alpaca", "bio", "cluener", "messages"])
def test_what_is_written_is_read_back(workplace, make_run, format: str) -> None:
    export(make_run(RECORDS, ANSWERS), Path("out"), format=format)
    (path,) = Path("out").iterdir()
    samples = load_format(format).read(Source(path))
    assert [(sample.text, sample.entities) for sample in samples] == [(one.text, one.entities) for one in PREDICTED]


async def surer_with_every_record(server: Faulty, body: dict[str, Any]) -> web.Response | None:
    """The name in 林07在云帆科技任经理, with the score 0.57; but none in record 3, of which it is sure by 0.2."""
    text = body["messages"][1]["content"].partition("文本：\n")[2]
    number = int(text[1:3])
    return scored([("name", text[:3], 0.5 + number / 100 if number != 3 else 0.2)])


@pytest.fixture
def sure(work: Path, ner_eval) -> None:
    with Faulty(surer_with_every_record) as server:
        asked = (
            "--model",
            "nano",
            "--prompt",
            "data/alpaca/demo.prompt.json",
            "--base-url",
            server.base_url,
            "--wait",
            0,
        )
        ended = ner_eval("predict", "--corpus", "demo", "--run", "sure", "--limit", 6, "--confidence", *asked)
    assert ended.code == 0, ended.err


def test_the_records_that_the_model_was_least_sure_of_come_first_with_scores(sure: None, ner_eval) -> None:
    ended = ner_eval("export", "sure", "--format", "label_studio", "--uncertain", 3, "--output", "out")
    assert ended.out == (
        "out/test: read 3, kept 3, rejected 0\nnote: records that are not written: 3 (the model is surer of them 3)\n"
    ), ended.err
    tasks = json.loads(Path("out/test.json").read_text("utf-8"))
    assert [task["data"]["id"] for task in tasks] == ["demo-test-3", "demo-test-0", "demo-test-1"]
    found = {"from_name": "label", "to_name": "text", "type": "labels", "score": 0.5}
    found["value"] = {"start": 0, "end": 3, "text": "林00", "labels": ["name"]}
    assert tasks[1]["predictions"] == [{"result": [found], "score": 0.5}]
    assert not any("annotations" in task for task in tasks)  # nobody has looked at them
    # What a person leaves as it is becomes an annotation, and is read as gold.
    corrected = [{**task, "annotations": task.pop("predictions")} for task in tasks]
    Path("corrected.json").write_text(json.dumps(corrected), "utf-8")
    samples = load_format("label_studio").read(Source(Path("corrected.json")))
    assert [(sample.text[:3], sample.entities) for sample in samples] == [
        (name, (Entity(0, 3, "name", name),)) for name in ("林03", "林00", "林01")
    ]


def test_fewer_records_than_wanted_are_all_written(sure: None, ner_eval) -> None:
    ended = ner_eval("export", "sure", "--format", "doccano", "--uncertain", 9, "--output", "out")
    assert ended.out == "out/test: read 6, kept 6, rejected 0\n"
    lines = Path("out/test.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["text"][:3] for line in lines] == ["林03", "林00", "林01", "林02", "林04", "林05"]


def test_without_scores_nothing_is_uncertain(workplace, make_run, ner_eval) -> None:
    make_run(RECORDS, ANSWERS)
    for option in ("--uncertain", "--threshold"):
        ended = ner_eval("export", "./run", "--format", "doccano", option, 1, "--output", "out")
        assert ended.code == 2
        assert ended.lines == ["ner-eval: run: has no scores; predict with --confidence into another --run"]
    assert not Path("out").exists()


def test_mentions_of_a_run_with_lower_scores_are_left_out_and_counted(sure: None, ner_eval) -> None:
    words = ("export", "sure", "--format", "doccano", "--output")
    ended = ner_eval(*words, "out", "--threshold", 0.515)
    assert ended.out == (
        "out/test: read 6, kept 6, rejected 0\nnote: mentions that are not written: 3 (lower scores than wanted 3)\n"
    ), ended.err
    lines = [json.loads(line) for line in Path("out/test.jsonl").read_text("utf-8").splitlines()]
    assert [line["text"][:3] for line in lines if line["label"]] == ["林02", "林04", "林05"]
    assert ner_eval(*words, "all", "--threshold", 0.19).out == "all/test: read 6, kept 6, rejected 0\n"
    ended = ner_eval(*words, "none", "--precision", 0.9)
    assert ended.code == 2 and "the model has no ner_calibration.json to choose a threshold by" in ended.lines[0]
    ended = ner_eval(*words, "none", "--suspects", "--threshold", 0.5)
    assert ended.lines == [
        "ner-eval: --suspects writes gold, which has no scores; leave out --threshold and --precision"
    ]
    assert not Path("none").exists()


def test_gold_that_is_probably_wrong_is_written_to_be_annotated_again(workplace, make_run, ner_eval) -> None:
    records = [
        Record("t-1", "云帆在海边", (Entity(0, 2, "name", "云帆"),)),
        Record("t-2", "林晓在海边", (Entity(0, 2, "name", "林晓"),)),
        Record("t-3", "云帆在山上", (Entity(0, 2, "name", "云帆"),)),
    ]
    company = '[{"text":"云帆","label":"company"}]'
    make_run(records, {"t-1": company, "t-2": '[{"text":"林晓","label":"name"}]', "t-3": company})
    ended = ner_eval("export", "./run", "--format", "label_studio", "--suspects", "--output", "out")
    assert ended.out == (
        "out/test: read 2, kept 2, rejected 0\n"
        "note: records that are not written: 1 (no likely annotation error in them 1)\n"
    ), ended.err
    samples = load_format("label_studio").read(Source(Path("out/test.json")))
    assert [(sample.text, sample.entities) for sample in samples] == [
        (one.text, one.entities) for one in (records[0], records[2])
    ]
    ended = ner_eval("export", "./run", "--format", "gold", "--suspects", "--output", "again", "--train", "none.jsonl")
    assert (ended.code, Path("again").exists()) == (2, False) and "none.jsonl: no such file" in ended.lines[0]


def test_a_run_without_likely_errors(workplace, make_run, ner_eval) -> None:
    make_run(RECORDS[2:], {"t-3": "[]"})
    words = ("export", "./run", "--format", "gold", "--output", "out")
    line = "ner-eval: run: no likely annotation error in it, so there is nothing to write"
    assert ner_eval(*words, "--suspects").lines == [line]
    assert ner_eval(*words, "--train", "x").lines == ["ner-eval: --train is for --suspects; leave it out"]
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--format", "gold", "--output", "out"], "nowhere"),
        (
            ["./run", "--format", "gold", "--output", "there"],
            "there: already exists; remove it or name another folder",
        ),
        (["./run", "--format", "gold", "--output", "out", "--gold", "none.jsonl"], "none.jsonl: no such file"),
        (["./run", "--format", "messages", "--output", "out", "--option", "form=xml"], "options: form must be one of"),
        (["./run", "--format", "gold", "--output", "out", "--option", "a=b"], "gold has no option 'a'"),
    ],
)
def test_what_cannot_be_exported(workplace, make_run, ner_eval, words: list[str], message: str) -> None:
    make_run(RECORDS, ANSWERS)
    Path("there").mkdir()
    ended = ner_eval("export", *words)
    assert ended.code == 2
    (line,) = ended.lines
    assert message in line
    assert not Path("out").exists()


@pytest.fixture
def extracted(work: Path, ner_eval) -> Path:
    """A file of `extract` with six texts, of whose answers the model was sure in the order 3, 0, 1, 2, 4, 5."""
    texts = "".join(f"林{number:02}在云帆科技任经理\n" for number in range(6))
    Path("new.txt").write_text(texts, "utf-8")
    with Faulty(surer_with_every_record) as server:
        asked = ("--prompt", "data/alpaca/demo.prompt.json", "--base-url", server.base_url, "--wait", 0)
        words = ("--model", "nano", "--confidence", "--output", "new.jsonl")
        assert ner_eval("extract", "new.txt", *words, *asked).code == 0
    return Path("new.jsonl")


def test_extracted_texts_are_written_with_scores_the_least_certain_first(extracted: Path, ner_eval) -> None:
    ended = ner_eval("export", "new.jsonl", "--format", "label_studio", "--uncertain", 3, "--output", "out")
    assert ended.out == (
        "out/new: read 3, kept 3, rejected 0\nnote: records that are not written: 3 (the model is surer of them 3)\n"
    ), ended.err
    tasks = json.loads(Path("out/new.json").read_text("utf-8"))
    assert [task["data"]["id"] for task in tasks] == ["new.txt:4", "new.txt:1", "new.txt:2"]
    assert [task["predictions"][0]["score"] for task in tasks] == [0.2, 0.5, 0.51]
    assert ner_eval("export", "new.jsonl", "--format", "doccano", "--output", "all").code == 0
    lines = [json.loads(line) for line in Path("all/new.jsonl").read_text("utf-8").splitlines()]
    assert [line["label"] for line in lines] == [[[0, 3, "name"]]] * 6


def test_entities_of_extracted_texts_with_lower_scores_are_left_out_and_counted(extracted: Path, ner_eval) -> None:
    words = ("export", "new.jsonl", "--format", "doccano", "--output")
    ended = ner_eval(*words, "out", "--threshold", 0.51, "--uncertain", 3)
    assert ended.out == (
        "out/new: read 3, kept 3, rejected 0\nnote: records that are not written: 3 (the model is surer of them 3)\n"
        "note: mentions that are not written: 2 (lower scores than wanted 2)\n"
    ), ended.err
    lines = [json.loads(line) for line in Path("out/new.jsonl").read_text("utf-8").splitlines()]
    assert [(line["text"][:3], len(line["label"])) for line in lines] == [("林03", 0), ("林00", 0), ("林01", 1)]
    ended = ner_eval(*words, "none", "--precision", 0.9)
    assert ended.lines == ["ner-eval: --precision is for runs; give a --threshold, or extract with --precision"]
    manifest = Path("new.jsonl.manifest.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text("utf-8")), "confidence": ""}), "utf-8")
    ended = ner_eval(*words, "none", "--threshold", 0.5)
    assert ended.lines == ["ner-eval: new.jsonl: has no scores; extract with --confidence into another --output"]
    assert not Path("none").exists()


def test_votes_are_scores_of_entities_but_do_not_rank_texts(work: Path, ner_eval) -> None:
    async def undecided(server: Faulty, body: dict[str, Any]) -> web.Response:
        return scored([] if body["seed"] == 2 else [("name", "林晓", 0.5)], logprobs=None)

    Path("new.txt").write_text("林晓在云帆\n", "utf-8")
    with Faulty(undecided) as server:
        asked = ("--prompt", "data/alpaca/demo.prompt.json", "--base-url", server.base_url, "--wait", 0)
        words = ("--model", "nano", "--samples", 4, "--output", "new.jsonl")
        assert ner_eval("extract", "new.txt", *words, *asked).code == 0
    words = ("export", "new.jsonl", "--format", "label_studio", "--output", "out")
    ended = ner_eval(*words, "--uncertain", 1)
    assert (ended.code, Path("out").exists()) == (2, False)
    assert ended.lines == [
        "ner-eval: new.jsonl: its scores are votes, which do not rank texts; extract with --confidence, without "
        "--samples, into another --output"
    ]
    assert ner_eval(*words).code == 0
    (task,) = json.loads(Path("out/new.json").read_text("utf-8"))
    assert [one["score"] for one in task["predictions"][0]["result"]] == [0.75]


@pytest.mark.parametrize("format", ["alpaca", "bio", "cluener", "hf_datasets", "messages", "uie"])
def test_extracted_texts_are_read_back(extracted: Path, ner_eval, format: str) -> None:
    ended = ner_eval("export", "new.jsonl", "--format", format, "--output", "out")
    assert ended.code == 0, ended.err
    (path,) = Path("out").iterdir()
    samples = load_format(format).read(Source(path))
    assert [(sample.text, [e.text for e in sample.entities or ()]) for sample in samples if sample.entities] == [
        (f"林{number:02}在云帆科技任经理", [f"林{number:02}"]) for number in range(6)
    ]


def test_refused_and_repeated_texts_of_extract(extracted: Path, ner_eval) -> None:
    line = json.loads(extracted.read_text("utf-8").splitlines()[0])
    with extracted.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "entities": None, "problems": ["no answer: too long"]}) + "\n")
        file.write(json.dumps(line) + "\n")
    ended = ner_eval("export", "new.jsonl", "--format", "gold", "--output", "out")
    assert ended.out == (
        "out/new: read 7, kept 7, rejected 0\nnote: records that are not written: 1 (refused by the server 1)\n"
    )
    assert [record.id for record in read_gold(Path("out/new.jsonl"))][-1] == "new.txt:1 (8)"


def test_files_that_extract_did_not_write_are_refused(extracted: Path, ner_eval) -> None:
    export_to = ("--format", "gold", "--output", "out")
    for words, says in (
        (("--suspects",), "are for runs"),
        (("--partial",), "are for runs"),
        (("--gold", "g.jsonl"), "are for runs"),
    ):
        assert says in ner_eval("export", "new.jsonl", *words, *export_to).lines[0]
    text = extracted.read_text("utf-8")
    for edited, says in (
        (text.replace('"林00"', '"林99"', 1), "new.jsonl:1: entity name [0, 3) says '林99'"),
        (text.replace('"start": 0', '"start": "0"', 1), "new.jsonl:1"),
        ("林00\n" + text, "new.jsonl:1: not JSON"),
        (text.replace("certainty", "c"), "has no scores; extract with --confidence into another --output"),
    ):
        extracted.write_text(edited, "utf-8")
        ended = ner_eval("export", "new.jsonl", *export_to, "--uncertain", 2)
        assert ended.code == 2 and says in ended.lines[0] and len(ended.lines) == 1, ended.err
        assert not Path("out").exists()
    Path("new.jsonl.manifest.json").unlink()
    assert "new.jsonl.manifest.json: no such file" in ner_eval("export", "new.jsonl", *export_to).lines[0]
