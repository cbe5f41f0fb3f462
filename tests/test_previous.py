"""What the commits before 2026-11-24 wrote still loads: a run, a prompt spec and adapters, made at commit 41c4188."""

import json
import shutil
from pathlib import Path

from faulty import Faulty
from ner_common.fingerprints import weights_fingerprint
from ner_data.alpaca import build_spec
from ner_data.corpus import load_corpus
from ner_data.gold import read_gold
from ner_data.prompt import PromptSpec
from ner_eval import Connection, compare, predict, report, score
from ner_eval.metrics.counts import micro
from ner_eval.metrics.protocols import SPAN, TEXT
from ner_eval.metrics.scores_file import read_scores
from ner_eval.runs.manifest import read_manifest
from ner_models.serving.adapters import check_base, load_adapter, refusals, served_rank
from support import ROOT

PREVIOUS = ROOT / "tests/previous"


def test_a_run_is_read_and_scores_as_it_did(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(PREVIOUS / "run", run)
    manifest = read_manifest(run)
    assert (manifest.model, manifest.selection["limit"]) == ("nano-lora-demo", None)
    stored = read_scores(run / "scores.json")
    again = score(str(run), gold=PREVIOUS / "gold.jsonl")
    assert again.readings == stored.readings and again.answers == stored.answers
    assert round(micro(again.counts(TEXT, "lenient")).f1, 4) == 0.7907
    assert micro(again.counts(SPAN, "lenient")).tp == micro(stored.counts(SPAN, "lenient")).tp > 0
    intervals = json.loads((PREVIOUS / "run/scores.json").read_text("utf-8"))["intervals"]
    assert json.loads(json.dumps(again.intervals)) == intervals


def test_a_complete_run_is_continued_without_a_server_and_reported(workplace: Path) -> None:
    shutil.copytree(PREVIOUS / "run", workplace / "runs/sample")
    (workplace / "data/gold/demo").mkdir(parents=True)
    shutil.copy(PREVIOUS / "gold.jsonl", workplace / "data/gold/demo/test.jsonl")
    nowhere = Connection(["http://127.0.0.1:1/v1"], wait=0)
    folder, predictions = predict("nano-lora-demo", "demo", run="sample", connection=nowhere)
    assert [p.id for p in predictions] == [record.id for record in read_gold(PREVIOUS / "gold.jsonl")]
    assert (folder / "manifest.json").read_bytes() == (PREVIOUS / "run/manifest.json").read_bytes()
    assert report(folder, png=False, lang="en").sentences == 12
    assert "not recorded" in (folder / "report.md").read_text("utf-8")


def test_an_incomplete_run_is_continued_and_its_lines_stay_as_they_are(workplace: Path) -> None:
    shutil.copytree(PREVIOUS / "run", workplace / "runs/sample")
    for source, target in (
        ("gold.jsonl", "gold/demo/test.jsonl"),
        ("lora/ner_prompt.json", "alpaca/demo.prompt.json"),
    ):
        (workplace / "data" / target).parent.mkdir(parents=True)
        shutil.copy(PREVIOUS / source, workplace / "data" / target)
    file = workplace / "runs/sample/predictions.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:7]) + lines[7][:30])
    with Faulty(models={"nano-lora-demo": "/nowhere"}) as server:
        server.version = "0.32.0"
        _, predictions = predict("nano-lora-demo", "demo", run="sample", connection=Connection([server.base_url]))
    assert len(server.asked) == 5 and len(predictions) == 12
    assert file.read_bytes().splitlines(keepends=True)[:7] == lines[:7]


def test_stored_scores_are_compared_with_new_ones() -> None:
    path = str(PREVIOUS / "run/scores.json")
    compared = compare([path, path])
    assert [item.name for item in compared.runs] == ["run", "run"]


def test_the_prompt_spec_is_still_the_one_that_a_corpus_gets() -> None:
    spec = PromptSpec.load(PREVIOUS / "lora/ner_prompt.json")
    assert spec == read_manifest(PREVIOUS / "run").prompt
    records = list(read_gold(PREVIOUS / "gold.jsonl"))
    assert build_spec(load_corpus("demo"), records, "json_list").fingerprint == spec.fingerprint == "6123138abaf67757"


def test_adapters_are_served() -> None:
    for method, kind in (("lora", "LORA"), ("prefix_tuning", "PREFIX_TUNING")):
        adapter = load_adapter(method, PREVIOUS / method)
        assert (adapter.kind, adapter.base) == (kind, "data/nano")
        check_base(adapter, ROOT / "data/nano")
        assert weights_fingerprint(adapter.path)
    lora = load_adapter("lora", PREVIOUS / "lora")
    assert not refusals(lora) and served_rank(lora.rank) == 1
