"""`ner-eval select`: which checkpoints are asked for what, which one is best, and what becomes of the adapter."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, completion, failure
from ner_common.training_record import read_training_record
from ner_eval.runs.predictions import read_predictions
from ner_eval.select import select, to_serve
from trained import ADAPTER, contents, write_training

NAMES = [f"nano-lora-demo@{step}" for step in (100, 200, 300)]
RUNS = Path("runs/nano-lora-demo-select")
SELECT = ("select", ADAPTER, "--wait", 0)


def right(**good: int):
    """A server on which checkpoint STEP finds the name in the first N of the ten held-out records: ``at_200=7``."""

    async def script(server: Faulty, body: dict[str, Any]) -> web.Response:
        text = body["messages"][1]["content"].partition("文本：\n")[2]
        found = int(text[1:3]) - 30 < good[f"at_{body['model'].partition('@')[2]}"]
        return completion(
            json.dumps([{"label": "name", "text": text[:3] if found else text[1:3]}], ensure_ascii=False)
        )

    return script


@pytest.fixture
def trained(work: Path) -> Path:
    write_training()
    return ADAPTER


def rows() -> dict[str, dict[str, Any]]:
    stored = json.loads((RUNS / "select.json").read_text())
    return {row["name"]: row for row in stored["checkpoints"]}


def test_the_best_checkpoint_takes_the_place_of_the_last_and_is_named(trained: Path, ner_eval) -> None:
    before = contents(trained)
    with Faulty(right(at_100=3, at_200=8, at_300=6), models=NAMES) as server:
        ended = ner_eval(*SELECT, "--base-url", server.base_url)
        assert ended.code == 0, ended.err
        assert len(server.asked) == 30 and {text[1:3] for text in server.asked} == {str(n) for n in range(30, 40)}
    after = contents(trained)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"adapter_model.safetensors", "ner_training.json"} and before.keys() == after.keys()
    assert after["adapter_model.safetensors"] == before["checkpoint-200/adapter_model.safetensors"]
    record = read_training_record(trained)
    assert record is not None
    selected = record["selected"]
    assert (selected["checkpoint"], selected["step"], selected["compared"], selected["records"]) == (
        "checkpoint-200", 200, 3, 10,
    )  # fmt: skip
    assert selected["f1"] == pytest.approx(0.8) == pytest.approx(rows()["checkpoint-200"]["f1"])
    line = next(line for line in ended.out.splitlines() if line.split()[0] == "checkpoint-200")
    assert line.split()[:3] == ["checkpoint-200", "1.00", "0.2000"] and line.split()[-1] == "best"
    assert "0.8000" in line and "+0.2000" in line
    assert "best: checkpoint-200; saves/nano/lora/demo holds it now" in ended.out
    picture = RUNS / "f1.png"
    if "no f1.png: the plot needs a font with Chinese characters" in ended.err:
        assert not picture.exists()
    else:
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert rows()["checkpoint-300"]["difference"] is None
    assert rows()["checkpoint-100"]["difference"]["f1"] == pytest.approx(-0.3)


def test_the_second_time_nothing_is_asked_and_nothing_changes(trained: Path, ner_eval) -> None:
    with Faulty(right(at_100=3, at_200=8, at_300=6), models=NAMES) as server:
        first = ner_eval(*SELECT, "--base-url", server.base_url)
    before, written = contents(trained), contents(RUNS)
    again = ner_eval(*SELECT, "--base-url", server.base_url)  # the server has ended
    assert again.code == 0, again.err
    assert contents(trained) == before
    assert {name: data for name, data in contents(RUNS).items() if "png" not in name} == {
        name: data for name, data in written.items() if "png" not in name
    }
    assert "held it already" in again.out and "holds it now" in first.out
    assert to_serve(trained) == []


def test_of_equal_checkpoints_the_earliest_is_best(trained: Path, ner_eval) -> None:
    with Faulty(right(at_100=3, at_200=5, at_300=5), models=NAMES) as server:
        selection = select(trained, connection=_connection(server))
    assert selection.best.candidate.name == "checkpoint-200"


def _connection(server: Faulty):
    from ner_eval import Connection

    return Connection((server.base_url,), wait=0)


def test_with_keep_the_adapter_stays_as_it_is(trained: Path, ner_eval) -> None:
    before = contents(trained)
    with Faulty(right(at_100=3, at_200=8, at_300=6), models=NAMES) as server:
        ended = ner_eval(*SELECT, "--base-url", server.base_url, "--keep")
    assert ended.code == 0 and contents(trained) == before
    assert "best: checkpoint-200; saves/nano/lora/demo stays as it is" in ended.out


def test_an_interrupted_selection_asks_only_what_is_missing(trained: Path, ner_eval) -> None:
    async def dies(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        if len(server.asked) > 17:
            server._loop.call_soon_threadsafe(server._stop.set)
            return failure(503)
        return await right(at_100=3, at_200=8, at_300=6)(server, body)

    limits = ("--concurrency", 1, "--patience", 0.5)
    with Faulty(dies, models=NAMES) as server:
        ended = ner_eval(*SELECT, "--base-url", server.base_url, *limits)
    assert ended.code == 2 and len(ended.lines) == 1 and "run the same command again" in ended.lines[0]
    kept = sum(len(read_predictions(path)) for path in RUNS.iterdir() if path.is_dir())
    assert kept == 17
    assert [word.partition("=")[0] for word in to_serve(trained)] == NAMES[1:]
    with Faulty(right(at_100=3, at_200=8, at_300=6), models=NAMES[1:]) as server:  # the first is not needed any more
        ended = ner_eval(*SELECT, "--base-url", server.base_url)
    assert ended.code == 0, ended.err
    assert len(server.asked) == 13
    assert rows()["checkpoint-100"]["tp"] == 3


def test_refused_records_choose_nothing_until_they_are_asked_again(trained: Path, ner_eval) -> None:
    async def refuses(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        if body["model"] == NAMES[0] and "林33" in body["messages"][1]["content"]:
            return failure(400, "no")
        return await right(at_100=9, at_200=8, at_300=6)(server, body)

    before = contents(trained)
    with Faulty(refuses, models=NAMES) as server:
        ended = ner_eval(*SELECT, "--base-url", server.base_url)
    assert ended.code == 1 and "refused 1 records" in ended.lines[0] and contents(trained) == before
    with Faulty(right(at_100=9, at_200=8, at_300=6), models=NAMES) as server:
        ended = ner_eval(*SELECT, "--base-url", server.base_url, "--retry-refused")
        assert server.asked == ["林33在云帆任职"]
    assert ended.code == 0 and "best: checkpoint-100" in ended.out


def test_checkpoints_that_find_nothing_replace_nothing(trained: Path, ner_eval) -> None:
    before = contents(trained)
    with Faulty(right(at_100=0, at_200=0, at_300=0), models=NAMES) as server:
        ended = ner_eval(*SELECT, "--base-url", server.base_url)
    assert ended.code == 0 and contents(trained) == before
    assert "no checkpoint finds an entity; saves/nano/lora/demo stays as it is" in ended.out
    assert "best" not in ended.out


@pytest.mark.parametrize("models", [["nano"], NAMES[:2]])
def test_a_server_that_lacks_a_checkpoint_is_refused_with_what_to_run(trained: Path, ner_eval, models) -> None:
    with Faulty(models=models) as server:
        ended = ner_eval(*SELECT, "--base-url", server.base_url)
        assert not server.asked
    assert ended.code == 2
    (line,) = ended.lines
    assert "does not serve the model" in line and "make select" in line and "--list)" in line
    assert not RUNS.exists()


def test_a_server_with_another_folder_under_a_name_is_refused(trained: Path, ner_eval) -> None:
    folders = dict.fromkeys(NAMES, trained / "checkpoint-100")
    with Faulty(models=folders) as server:
        ended = ner_eval(*SELECT, "--base-url", server.base_url)
    assert ended.code == 2 and "checkpoint-100 as nano-lora-demo@200" in ended.lines[0]


def test_what_has_to_be_served_is_listed(trained: Path, ner_eval) -> None:
    ended = ner_eval("select", trained, "--list", "--model", "mine")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"mine@{step}=saves/nano/lora/demo/checkpoint-{step}" for step in (100, 200, 300)
    ]


def test_a_chosen_checkpoint_is_named_in_reports_and_published_results(trained: Path, ner_eval) -> None:
    with Faulty(right(at_100=3, at_200=8, at_300=6), models=[*NAMES, "nano-lora-demo"]) as server:
        assert ner_eval(*SELECT, "--base-url", server.base_url).code == 0
        asked = ("predict", "--model", "nano-lora-demo", "--corpus", "demo", "--adapter", trained, "--run", "final")
        server.script = None
        assert ner_eval(*asked, "--base-url", server.base_url).code == 0
    assert ner_eval("report", "final", "--lang", "en", "--no-png").code == 0
    said = "checkpoint-200: the best of 3 on 10 held-out records (F1 0.8000)"
    assert said in Path("runs/final/report.md").read_text("utf-8").replace("\\", "")
    _recipes(trained)
    assert ner_eval("publish", "final", "--adapter", trained).code == 0
    result = json.loads(Path("recipes/nano/results/final.json").read_text())
    assert result["selected"]["checkpoint"] == "checkpoint-200"
    assert "checkpoint-200, the best of 3" in Path("recipes/README.md").read_text("utf-8")


def test_other_weights_are_not_called_the_chosen_checkpoint(trained: Path, ner_eval) -> None:
    with Faulty(right(at_100=3, at_200=8, at_300=6), models=[*NAMES, "nano-lora-demo"]) as server:
        assert ner_eval(*SELECT, "--base-url", server.base_url).code == 0
        (trained / "adapter_model.safetensors").write_bytes(
            (trained / "checkpoint-100/adapter_model.safetensors").read_bytes()
        )
        asked = ("predict", "--model", "nano-lora-demo", "--corpus", "demo", "--adapter", trained, "--run", "other")
        server.script = None
        assert ner_eval(*asked, "--base-url", server.base_url).code == 0
    assert ner_eval("score", "other").code == 0
    _recipes(trained)
    assert ner_eval("publish", "other", "--adapter", trained).code == 0
    assert "selected" not in json.loads(Path("recipes/nano/results/other.json").read_text())


def _recipes(trained: Path) -> None:
    from ner_eval.publish import END, START, TABLE

    (trained / "all_results.json").write_text('{"train_runtime": 90.0, "epoch": 2.0}')
    Path("recipes/nano").mkdir(parents=True)
    Path("recipes/nano/lora.yaml").touch()
    TABLE.write_text(f"{START}\n{END}\n")
