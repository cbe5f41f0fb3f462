"""``ner-eval score`` on real run folders."""

import argparse
import json
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from faulty import Faulty
from ner_common.errors import UserError
from ner_data.gold import Entity, Record, read_gold, write_gold
from ner_eval.metrics.counts import Counts, ModeCounts
from ner_eval.metrics.results import Answers, MentionCounts
from ner_eval.metrics.scores_file import read_scores
from ner_eval.runs.predictions import read_predictions
from ner_eval.score import add_arguments
from ner_eval.score import run as run_score

RECORDS = (
    Record("t-1", "林晓在云帆科技任经理", (Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技"))),
    Record("t-2", "周舟见周舟", (Entity(0, 2, "name", "周舟"), Entity(3, 5, "name", "周舟"))),
    Record("t-3", "今天没有人", ()),
    Record("t-4", "无标注的句子", None),
)
RIGHT = {
    "t-1": '[{"label":"name","text":"林晓"},{"label":"company","text":"云帆科技"}]',
    "t-2": '[{"label":"name","text":"周舟"},{"label":"name","text":"周舟"}]',
    "t-3": "[]",
    "t-4": '[{"label":"name","text":"无"}]',
}


def run(folder, *arguments: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    run_score(parser.parse_args([str(folder), *arguments]))


def test_the_table_has_every_label_then_the_averages_with_4_digits(make_run, capsys):
    run(make_run(RECORDS, {**RIGHT, "t-2": '[{"label":"name","text":"周"}]'}))
    lines = capsys.readouterr().out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("protocol:"))
    assert lines[start] == "protocol: text (the set of (label, surface) of each sentence)"
    assert [line.split() for line in lines[start + 1 : start + 6]] == [
        ["Label", "Precision", "Recall", "F1"],
        ["name", "0.5000", "0.5000", "0.5000"],
        ["company", "1.0000", "1.0000", "1.0000"],
        ["Macro", "Avg.", "0.7500", "0.7500", "0.7500"],
        ["Micro", "Avg.", "0.6667", "0.6667", "0.6667"],
    ]


def test_a_perfect_run_scores_1_and_the_record_without_gold_is_not_scored(make_run, capsys):
    folder = make_run(RECORDS, RIGHT)
    run(folder, "--protocol", "all")
    out = capsys.readouterr().out
    assert out.count("Micro Avg.     1.0000  1.0000 1.0000") == 2
    # The protocol official has the counts of text: its figure alone, not the table again.
    assert re.search(r"^Macro Avg. F1: 1.0000 \[.*\], from the table of text above$", out, re.MULTILINE)
    assert "1 records without gold are not scored" in out
    scores = read_scores(folder / "scores.json")
    assert scores.answers == Answers(scored=3, without_gold=1)
    assert scores.readings["lenient"].counts["span"]["name"] == Counts(tp=3)
    assert scores.readings["lenient"].counts["text"]["name"] == Counts(tp=2)


def test_every_fault_is_counted_and_is_a_false_positive(make_run, capsys):
    items = ["林晓", "云帆", "月亮"]
    answer = [{"label": "name", "text": text} for text in items] + [{"label": "planet", "text": "林晓"}]
    doubled = [{"label": "name", "text": "周舟"}] * 3
    folder = make_run(
        RECORDS,
        {
            **RIGHT,
            "t-1": "```json\n" + json.dumps(answer, ensure_ascii=False) + "\n```",
            "t-2": json.dumps(doubled, ensure_ascii=False),
            "t-3": ('[{"label":"na', "length"),
        },
    )
    run(folder)
    out = capsys.readouterr().out
    assert "answers: 3; unparsable 1, inexact 1, with a bad item 0, truncated by max_tokens 1" in out
    assert "mentions: 7 (gold 4); not in their text 1, unknown label 1 (both count as" in out
    assert "duplicated 1" in out
    lenient = read_scores(folder / "scores.json").readings["lenient"]
    assert lenient.counts["span"] == {"name": Counts(3, 3, 0), "company": Counts(0, 0, 1), "": Counts(0, 1, 0)}
    assert lenient.counts["text"] == {"name": Counts(2, 2, 0), "company": Counts(0, 0, 1), "": Counts(0, 1, 0)}
    strict = read_scores(folder / "scores.json").readings["strict"]
    assert strict.mentions == MentionCounts(predicted=3, gold=4, duplicated=1)
    assert strict.counts["span"]["name"] == Counts(2, 1, 1)


def test_an_unparsable_answer_misses_all_entities_of_its_sentence(make_run, capsys):
    folder = make_run(RECORDS, {**RIGHT, "t-1": "好的。", "t-2": ('[{"label":"na', "length")})
    run(folder)
    out = capsys.readouterr().out
    assert "answers: 3; unparsable 2, inexact 0, with a bad item 0, truncated by max_tokens 1" in out
    assert "mentions: 0 (gold 4)" in out
    scores = read_scores(folder / "scores.json")
    assert scores.answers == Answers(scored=3, without_gold=1, unparsable=2, cut=1)
    for reading in scores.readings.values():
        assert reading.counts["text"] == {"name": Counts(fn=2), "company": Counts(fn=1), "": Counts()}
        assert reading.counts["span"] == {"name": Counts(fn=3), "company": Counts(fn=1), "": Counts()}
        assert set(reading.modes.values()) == {ModeCounts(missed=4)}


def test_one_unparsable_answer_among_good_ones_lowers_recall_alone(make_run, capsys):
    run(make_run(RECORDS, {**RIGHT, "t-1": "好的。"}), "--protocol", "span")
    assert "Micro Avg.     1.0000  0.5000 0.6667" in capsys.readouterr().out


def test_the_strict_figure_is_shown_next_to_the_lenient_one(make_run, capsys):
    folder = make_run(RECORDS, {**RIGHT, "t-1": RIGHT["t-1"][:-1]})
    run(folder)
    assert "Micro Avg. F1 with strict parsing: 0.5000" in capsys.readouterr().out
    run(folder, "--reading", "strict")
    out = capsys.readouterr().out
    assert "strict parsing" in out
    assert "Micro Avg. F1 with lenient parsing: 1.0000" in out


def test_official_says_that_division_by_zero_is_0(make_run, capsys):
    run(make_run(RECORDS, RIGHT, labels=("name", "company", "movie")), "--protocol", "official")
    out = capsys.readouterr().out
    assert "division by zero is 0)" in out
    assert "neither gold nor predictions, so 0 in Macro Avg. (division by zero is 0): movie" in out
    assert "Macro Avg.     0.6667  0.6667 0.6667" in out


@pytest.mark.parametrize("answers", [{"t-1": RIGHT["t-1"]}, {}])
def test_missing_answers_are_refused_and_counted(make_run, answers):
    with pytest.raises(UserError, match=rf"{3 - len(answers)} of 3 records have no answer yet"):
        run(make_run(RECORDS, answers))


def test_partial_scores_what_is_there_and_says_so(make_run, capsys):
    folder = make_run(RECORDS, {"t-1": RIGHT["t-1"]})
    run(folder, "--partial")
    out = capsys.readouterr().out
    assert "PARTIAL: 2 of 3 records have no answer and are excluded from all figures" in out
    assert read_scores(folder / "scores.json").answers == Answers(scored=1, missing=2, without_gold=1)


def test_a_complete_selection_is_scored_and_described(make_run, capsys):
    selection = {"limit": 2, "sample": None, "seed": None}
    folder = make_run(RECORDS, {name: RIGHT[name] for name in ("t-1", "t-2")}, selection=selection)
    run(folder)
    assert "only a selection of the split: limit 2" in capsys.readouterr().out
    assert read_scores(folder / "scores.json").answers == Answers(scored=2)


def test_partial_without_any_answer_is_refused(make_run):
    with pytest.raises(UserError, match="3 of 3 records"):
        run(make_run(RECORDS, {}), "--partial")


def test_predictions_for_unknown_records_are_refused(make_run):
    with pytest.raises(
        UserError, match=r"predictions.jsonl: 1 ids that are not in the run's selection from .* \('other-9'\)"
    ):
        run(make_run(RECORDS, {**RIGHT, "other-9": "[]"}))


def test_a_duplicate_id_is_refused(make_run):
    folder = make_run(RECORDS, RIGHT)
    path = folder / "predictions.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(UserError, match=r"predictions.jsonl:5: duplicate id t-1, also in line 1"):
        run(folder)


def test_another_gold_file_is_refused(make_run, tmp_path):
    folder = make_run(RECORDS, RIGHT)
    gold = tmp_path / "run-gold.jsonl"
    gold.write_text(gold.read_text("utf-8").replace("company", "name"), "utf-8")
    with pytest.raises(UserError, match="is not the run's gold file"):
        run(folder)


def test_moved_gold_can_be_named(make_run, tmp_path, capsys):
    folder = make_run(RECORDS, RIGHT)
    (tmp_path / "run-gold.jsonl").rename(tmp_path / "moved.jsonl")
    with pytest.raises(UserError, match="no such file"):
        run(folder)
    run(folder, "--gold", str(tmp_path / "moved.jsonl"))
    assert "1.0000" in capsys.readouterr().out


def test_a_split_without_gold_is_refused(make_run):
    with pytest.raises(UserError, match="no record has gold entities"):
        run(make_run(RECORDS[3:], {"t-4": "[]"}))


def test_a_split_without_gold_is_predicted_but_not_scored(work, ner_eval):
    path = work / "data/gold/demo/test.jsonl"
    write_gold(path, [replace(record, entities=None) for record in read_gold(path)])
    with Faulty() as server:
        ended = ner_eval("predict", "--model", "nano", "--corpus", "demo", "--wait", 0, "--base-url", server.base_url)
    assert ended.code == 0, ended.err
    stored = read_predictions(Path("runs/nano-demo-test"))
    assert [p.id for p in stored] == [f"demo-test-{n}" for n in range(40)]
    assert stored[7].answer == '[{"label": "name", "text": "林0"}]'
    ended = ner_eval("score", "nano-demo-test")
    assert ended.code == 2 and "this split can be predicted but not scored" in ended.lines[0]


def test_gold_with_labels_that_were_not_asked_for_is_refused_unless_allowed(make_run, capsys):
    folder = make_run(RECORDS, RIGHT, labels=("name",))
    with pytest.raises(UserError, match=r"labels that the model was not asked for \(company\)"):
        run(folder)
    run(folder, "--allow-other-labels")
    assert "company" in capsys.readouterr().out


def test_nothing_is_written_when_a_run_is_refused(make_run):
    folder = make_run(RECORDS, {**RIGHT, "other-9": "[]"})
    before = sorted(folder.iterdir())
    with pytest.raises(UserError):
        run(folder)
    assert sorted(folder.iterdir()) == before
