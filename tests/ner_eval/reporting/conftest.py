"""Reports for the tests: one with everything a report can contain, and a small one."""

import json
import random
from pathlib import Path

import pytest

from ner_data.gold import Entity, Record, write_gold
from report_page import GOLD, HOSTILE, LABELS, TEXT, gold_answer


def sentences() -> list[Record]:
    """Ninety sentences with a person and a company each."""
    rng = random.Random(0)
    records = []
    for n in range(90):
        name, company = rng.choice(["林晓", "周舟", "陈一鸣"]), rng.choice(["云帆科技", "和光银行"])
        # Characters outside the basic plane before the entities: offsets are characters, not UTF-16 units.
        text = f"{'😀' * (n % 3)}{name}在{company}任职，" + "后来又去了别处" * (n % 7)
        start = n % 3
        middle = start + len(name) + 1
        entities = (
            Entity(start, start + len(name), "name", name),
            Entity(middle, middle + len(company), "company", company),
        )
        records.append(Record(f"t-{n}", text, entities))
    return records


@pytest.fixture
def records() -> list[Record]:
    return sentences()


@pytest.fixture
def report(make_run, ner_eval, corrupt, tmp_path) -> Path:
    """A report with every error class, suspects, a comparison, training frequencies and hostile text."""
    records = sentences()
    doubtful = [Record(f"t-doubtful-{n}", "顾言来了", (Entity(0, 2, "name", "顾言"),)) for n in range(3)]
    records += doubtful
    records.append(Record("t-hostile", HOSTILE + "林晓", (Entity(len(HOSTILE), len(HOSTILE) + 2, "name", "林晓"),)))
    write_gold(tmp_path / "train.jsonl", [*records[:30], doubtful[0]])
    folders = []
    for seed, run in enumerate(("first", "second")):
        rng = random.Random(seed)
        answers = {r.id: corrupt(r, LABELS, rng) for r in records}
        answers["t-hostile"] = json.dumps([{"label": HOSTILE, "text": HOSTILE + "</script>"}])
        answers |= {r.id: '[{"label":"movie","text":"顾言"},{"label":"scene","text":"来"}]' for r in doubtful}
        answers["t-3"] = json.dumps([{"label": "scene", "text": records[3].text[1:]}])
        answers["t-1"] = '[{"label":"name","text":"林晓林"}] <script>window.broken=1</script>'
        folders.append(make_run(records, answers, LABELS, name=run))
    ended = ner_eval("report", folders[0], "--compare", folders[1], "--no-png")
    assert ended.code == 0, ended.err
    return folders[0] / "report.html"


@pytest.fixture
def partial_report(make_run, ner_eval) -> Path:
    """A report in English of two answers to a selection of three sentences, without training data."""
    selection = {"limit": 3, "sample": None, "seed": None}
    folder = make_run(sentences()[:3], {"t-0": "[]", "t-1": "[]"}, LABELS, selection=selection)
    ended = ner_eval("report", folder, "--partial", "--lang", "en", "--no-png")
    assert ended.code == 0, ended.err
    return folder / "report.html"


@pytest.fixture
def reported(make_run, ner_eval):
    """Twelve sentences, three of them wrong, reported without the plot: the run's folder, and how the command ended."""
    records = [Record(f"t-{n}", TEXT, GOLD) for n in range(12)]
    answers = {r.id: gold_answer(r) for r in records}
    answers |= {"t-3": gold_answer(records[3], name="company"), "t-5": "不知道", "t-7": "[]"}
    folder = make_run(records, answers, ("name", "company", "position"))
    ended = ner_eval("report", folder, "--no-png")
    assert ended.code == 0, ended.err
    return folder, ended
