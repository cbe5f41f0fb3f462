"""`ner-eval calibrate`: an adapter's scores against its held-out records, and who uses what it stores."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty
from ner_eval import Recognizer
from scored_answers import logprobs, scored
from trained import ADAPTER, write_training, write_weights

FILE = ADAPTER / "ner_calibration.json"
CALIBRATE = ("calibrate", ADAPTER, "--wait", 0)


async def half_right(server: Faulty, body: dict[str, Any]) -> web.Response:
    """In every second text the name is right; a company, which gold never has, is always wrong and less likely."""
    text = body["messages"][1]["content"].partition("文本：\n")[2]
    even = int(text[1:3]) % 2 == 0
    return scored([("name", text[:3] if even else text[1:3], 0.9 if even else 0.7), ("company", "云帆", 0.5)])


@pytest.fixture
def trained(work: Path) -> Path:
    write_training(held_out=40)
    return ADAPTER


@pytest.fixture
def server(trained: Path):
    with Faulty(half_right, models={"nano-lora-demo": trained.absolute()}) as server:
        yield server


def test_a_calibration_is_stored_and_used_by_everything_that_shows_scores(
    server: Faulty, ner_eval, work: Path
) -> None:
    where = ("--base-url", server.base_url)
    ended = ner_eval(*CALIBRATE, *where)
    assert ended.code == 0, ended.err
    assert "80 held-out entities, 20 right; method platt" in ended.out
    stored = json.loads(FILE.read_text())
    assert stored["corpus"] == "demo" and len(stored["entities"]) == 80
    assert stored["error_after"] < stored["error_before"]

    asked = len(server.asked)
    assert ner_eval(*CALIBRATE, *where).code == 0 and len(server.asked) == asked  # its answers are stored

    (work / "t.txt").write_text("林40在云帆\n", "utf-8")
    ended = ner_eval("extract", "t.txt", "--model", "nano-lora-demo", *where, "--confidence", "--wait", 0)
    name, company = (entity["score"] for entity in json.loads(ended.out)["entities"])
    assert name > 0.8 and company < 0.1
    found = Recognizer(server.base_url, "nano-lora-demo", confidence=True).recognize(["林40在云帆"])[0]
    assert [round(score, 4) for score in found.scores] == [name, company]

    ended = ner_eval("extract", "t.txt", "--model", "nano-lora-demo", *where, "--precision", 1, "--wait", 0)
    assert [entity["label"] for entity in json.loads(ended.out)["entities"]] == ["name"]
    assert "1 entities with lower scores left out" in ended.err
    (sure,) = Recognizer(server.base_url, "nano-lora-demo", precision=1).predict(["林40在云帆"])
    assert [entity.label for entity in sure] == ["name"]
    run = next(Path("runs").glob("nano-lora-demo-calibrate/*/"))
    ended = ner_eval("export", run, "--precision", 1, "--format", "doccano", "--output", "out")
    assert "mentions that are not written: 60 (lower scores than wanted 60)" in ended.out, ended.err
    ended = ner_eval("score", run, "--precision", 1)
    assert "calibrated (platt)" in ended.out and "lost: 0 right ones and 60 wrong ones" in ended.out
    assert "kept (20): precision 1.0000, recall 0.5000" in ended.out


def test_a_copy_that_is_served_is_calibrated_with_the_adapter_while_it_has_the_same_weights(
    trained: Path, ner_eval, work: Path
) -> None:
    """As with `ner-model serve --reloadable`; programs that are given no --adapter read the copy's folder."""
    copy = Path(".serve/8000/nano-lora-demo/1")
    copy.mkdir(parents=True)
    for name in ("adapter_config.json", "adapter_model.safetensors", "ner_prompt.json"):
        (copy / name).write_bytes((trained / name).read_bytes())
    (work / "t.txt").write_text("林40在云帆\n", "utf-8")
    stored = copy / "ner_calibration.json"
    with Faulty(half_right, models={"nano-lora-demo": copy}) as server:
        ended = ner_eval(*CALIBRATE, "--base-url", server.base_url)
        assert ended.code == 0 and f"{stored}, beside the copy" in ended.out, ended
        assert stored.read_bytes() == FILE.read_bytes()
        extract = ("extract", "t.txt", "--model", "nano-lora-demo", "--base-url", server.base_url, "--wait", 0)
        ended = ner_eval(*extract, "--precision", 1)
        assert [entity["label"] for entity in json.loads(ended.out)["entities"]] == ["name"]
        stored.unlink()
        write_weights(copy / "adapter_model.safetensors", 7)  # exchanged meanwhile; the answers are stored
        ended = ner_eval(*CALIBRATE, "--base-url", server.base_url)
        assert ended.code == 0 and not stored.exists() and "copy" not in ended.out
    assert ner_eval(*CALIBRATE, "--base-url", server.base_url).code == 0  # without a server


def test_a_whole_model_is_calibrated_as_an_adapter_is(work: Path, ner_eval) -> None:
    """A fully fine-tuned or a merged model."""
    write_training(held_out=40)
    merged = work / "models/nano-lora-demo"
    merged.mkdir(parents=True)
    for name in ("ner_prompt.json", "ner_training.json", "ner_held_out.json"):
        (merged / name).write_bytes((ADAPTER / name).read_bytes())
    (merged / "config.json").write_text("{}")
    write_weights(merged / "model.safetensors", 1)
    with Faulty(half_right, models={"nano-lora-demo": merged}) as server:
        ended = ner_eval("calibrate", merged, "--wait", 0, "--base-url", server.base_url)
    assert ended.code == 0 and "80 held-out entities, 20 right" in ended.out, ended.err
    assert (merged / "ner_calibration.json").is_file() and not FILE.exists()


def test_after_another_training_the_calibration_is_refused_until_it_is_made_again(
    server: Faulty, ner_eval, work: Path
) -> None:
    where = ("--base-url", server.base_url)
    assert ner_eval(*CALIBRATE, *where).code == 0
    run = next(Path("runs").glob("nano-lora-demo-calibrate/*/"))
    write_weights(ADAPTER / "adapter_model.safetensors", 7)
    (work / "t.txt").write_text("林40在云帆\n", "utf-8")
    extract = ("extract", "t.txt", "--model", "nano-lora-demo", *where, "--wait", 0)
    ended = ner_eval(*extract, "--confidence")
    assert (ended.code, len(ended.lines)) == (2, 1)
    assert "ner_calibration.json: was made for other weights" in ended.lines[0]
    assert ner_eval(*extract).code == 0  # without scores, nothing needs it
    assert ner_eval("score", run).code == 0  # the old run is of the old weights
    assert ner_eval(*CALIBRATE, *where).code == 0
    assert ner_eval(*extract, "--confidence").code == 0
    ended = ner_eval("score", run)
    assert ended.code == 0 and "the scores of this run are not calibrated" in ended.err
    assert ner_eval("score", run, "--precision", 0.5).code == 2


def test_votes_of_drawn_answers_are_compared_with_the_scores_in_one_table(server: Faulty, ner_eval) -> None:
    async def votes(server: Faulty, body: dict[str, Any]) -> web.Response:
        if body["temperature"] == 0:
            return await half_right(server, body)
        text = body["messages"][1]["content"].partition("文本：\n")[2]
        return scored([("name", text[:3], 1.0)])  # so the right ones have all votes, the wrong ones none

    server.script = votes
    command = (*CALIBRATE, "--base-url", server.base_url, "--samples", 3)
    ended = ner_eval(*command)
    assert ended.code == 0, ended.err
    rows = {line.split("  ")[0].strip() or line.split()[0]: line.split() for line in ended.out.splitlines()}
    table = [
        words for words in rows.values() if words[:1] == ["log-probabilities"] or words[:3] == ["votes", "of", "3"]
    ]
    # Both measures rank the right ones first, and half of gold is not found at all.
    assert [words[-1] for words in table] == ["0.5000", "0.5000"]
    assert table[1][3] == "0.0000" and float(table[0][1]) > 0.3
    assert len(server.asked) == 40 * 4
    assert len(list(Path("runs/nano-lora-demo-calibrate").glob("*-drawn-*"))) == 3
    assert ner_eval(*command).code == 0 and len(server.asked) == 40 * 4


def test_too_few_held_out_entities_store_nothing(work: Path, ner_eval) -> None:
    write_training(held_out=10)
    with Faulty(half_right, models={"nano-lora-demo": ADAPTER.absolute()}) as server:
        ended = ner_eval(*CALIBRATE, "--base-url", server.base_url)
    assert (ended.code, len(ended.lines)) == (2, 1)
    assert "20 entities (5 right, 15 wrong) are too few to calibrate: 50 are needed" in ended.lines[0]
    assert not FILE.exists()


@pytest.mark.parametrize(("unaligned", "code"), [(10, 0), (21, 2), (40, 2)])
def test_answers_whose_tokens_do_not_add_up_are_counted_and_most_of_them_refused(
    trained: Path, ner_eval, unaligned: int, code: int
) -> None:
    async def partly(server: Faulty, body: dict[str, Any]) -> web.Response:
        text = body["messages"][1]["content"].partition("文本：\n")[2]
        if int(text[1:3]) < unaligned:
            return scored([("name", text[:3], 0.9)], logprobs=logprobs([("别的", -0.1)]))
        return await half_right(server, body)

    with Faulty(partly, models={"nano-lora-demo": trained.absolute()}) as server:
        ended = ner_eval(*CALIBRATE, "--base-url", server.base_url)
    assert ended.code == code and FILE.exists() == (code == 0)
    if code:
        assert len(ended.lines) == 1 and f"{unaligned} of 40 answers with entities have no scores" in ended.lines[0]
    else:
        assert f"{unaligned} answers without scores are left out" in ended.out


def test_a_server_without_logprobs_cannot_calibrate(trained: Path, ner_eval) -> None:
    with Faulty(models={"nano-lora-demo": trained.absolute()}) as server:
        ended = ner_eval(*CALIBRATE, "--base-url", server.base_url)
    assert (ended.code, len(ended.lines)) == (2, 1)
    assert "the server sends no log-probabilities" in ended.lines[0] and not FILE.exists()


def test_an_edited_prompt_or_a_folder_that_is_none_is_refused(trained: Path, ner_eval) -> None:
    ended = ner_eval("calibrate", "nowhere", "--wait", 0)
    assert (ended.code, len(ended.lines)) == (2, 1) and "nowhere" in ended.lines[0]
    (ADAPTER / "ner_held_out.json").unlink()
    ended = ner_eval(*CALIBRATE)
    assert ended.code == 2 and "does not say which records it held out" in ended.lines[0]
