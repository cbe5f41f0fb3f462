"""The commands as Python functions: what `ner_eval` exports does what the command line does."""

import json
from pathlib import Path

import pytest

import ner_eval as library
from faulty import Faulty
from ner_common.errors import UserError
from ner_data.gold import read_gold
from ner_eval import Connection, compare, predict, report, score
from ner_eval.metrics.counts import micro
from ner_eval.metrics.protocols import TEXT


def test_predict_score_compare_and_report_from_python(work: Path) -> None:
    with Faulty() as server:
        connection = Connection([server.base_url], wait=0)
        folder, predictions = predict("nano", "demo", connection=connection)
        other, few = predict("nano", "demo", run="few", limit=3, connection=connection)
    assert [p.id for p in predictions] == [record.id for record in read_gold(Path("data/gold/demo/test.jsonl"))]
    assert (folder, other, len(few)) == (Path("runs/nano-demo-test"), Path("runs/few"), 3)
    scores = score(folder)
    assert json.loads((folder / "scores.json").read_text("utf-8"))["answers"]["scored"] == scores.answers.scored == 40
    assert micro(scores.counts(TEXT, "lenient")).fp == 40  # the stub returns two characters of three-character names
    compared = compare([folder, "few"], partial=True, reading="strict")
    assert compared.sentences == 3 and compared.runs[1].difference is not None
    assert compared.runs[1].difference.f1 == 0
    written = report(folder, png=False)
    assert (written.sentences, written.wrong, written.shown) == (40, 40, 40)
    assert [path.name for path in written.files] == ["report.html", "report.md"] and all(
        map(Path.is_file, written.files)
    )


def test_errors_are_exceptions_with_one_line(work: Path) -> None:
    with pytest.raises(UserError, match=r"demo: has no split final; it has train, dev, test"):
        predict("nano", "demo", split="final")
    with pytest.raises(UserError, match="one run cannot be compared"):
        compare(["one"])
    with pytest.raises(UserError, match="modes: runs cannot be compared by that; use text or span or official"):
        compare(["one", "two"], protocol="modes")
    with pytest.raises(UserError, match="tolerant: runs cannot be compared by that; use lenient or strict"):
        compare(["one", "two"], reading="tolerant")
    with pytest.raises(UserError, match="fr: no such language of the report; use zh or en"):
        report("one", lang="fr")
    with pytest.raises(UserError, match=r"runs/none/manifest.json: no such file"):
        score("none")


def test_the_public_names_are_documented() -> None:
    for name in library.__all__:
        exported = getattr(library, name)
        assert callable(exported) and exported.__doc__ and len(exported.__doc__.split()) > 3, name
