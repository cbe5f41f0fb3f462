"""Scores of entities through `ner-eval extract`, `predict`, `score` and `report`, and from Python."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from browser import chromium
from faulty import Faulty, completion
from ner_common.errors import UserError
from ner_eval import Recognizer
from ner_eval.runs.manifest import read_manifest
from ner_eval.runs.predictions import read_predictions
from report_page import data_of, keep, rows, say
from scored_answers import logprobs, refusing_scores, scored

PROMPT = "data/alpaca/demo.prompt.json"
FLAGS = ("--prompt", PROMPT, "--wait", 0)


async def two(server: Faulty, body: dict[str, Any]) -> web.Response | None:
    """A name with the score 0.9 and a company with 0.4."""
    text = body["messages"][1]["content"].partition("文本：\n")[2]
    return scored([("name", text[:2], 0.9), ("company", "云帆", 0.4)])


async def torn(server: Faulty, body: dict[str, Any]) -> web.Response | None:
    return scored([("name", "林晓", 0.9)], logprobs=logprobs([("[", 0.0)]))


@pytest.fixture
def texts(work: Path) -> Path:
    path = work / "texts.txt"
    path.write_text("林晓在云帆\n周舟在云帆\n", "utf-8")
    return path


def test_extract_writes_scores_if_asked(texts: Path, ner_eval) -> None:
    with Faulty(two) as server:
        command = ("extract", texts, "--model", "nano", "--base-url", server.base_url, *FLAGS)
        ended = ner_eval(*command, "--confidence")
        assert ended.code == 0, ended.err
        lines = [json.loads(line) for line in ended.out.splitlines()]
        assert lines[0]["entities"] == [
            {"start": 0, "end": 2, "label": "name", "text": "林晓", "score": 0.9},
            {"start": 3, "end": 5, "label": "company", "text": "云帆", "score": 0.4},
        ]
        assert all(body["logprobs"] is True for body in server.bodies)
        asked = len(server.bodies)
        plain = ner_eval(*command)
        assert "score" not in plain.out and not any("logprobs" in body for body in server.bodies[asked:])


def test_entities_below_a_threshold_are_left_out_and_counted(texts: Path, ner_eval) -> None:
    with Faulty(two) as server:
        ended = ner_eval(
            "extract", texts, "--model", "nano", "--base-url", server.base_url, *FLAGS, "--threshold", 0.4001
        )
    assert ended.code == 0, ended.err
    assert [[e["label"] for e in json.loads(line)["entities"]] for line in ended.out.splitlines()] == [["name"]] * 2
    assert "2 entities with lower scores left out" in ended.err


def test_an_entity_that_two_passes_leave_out_counts_once(texts: Path, ner_eval) -> None:
    texts.write_text("林晓在云帆。周舟在云帆。吴桐在云帆。\n", "utf-8")
    with Faulty(two) as server:
        flags = ("--model", "nano", "--base-url", server.base_url, *FLAGS, "--longest", 12, "--passes", 2)
        ended = ner_eval("extract", texts, *flags, "--threshold", 0.4001)
        assert ended.code == 0 and len(server.asked) == 4, ended.err
    assert "3 entities with lower scores left out" in ended.err


def test_an_output_file_does_not_mix_scores_of_two_kinds(texts: Path, ner_eval) -> None:
    with Faulty(two) as server:
        command = ("extract", texts, "--model", "nano", "--base-url", server.base_url, *FLAGS, "--output", "o.jsonl")
        assert ner_eval(*command, "--confidence").code == 0
        assert ner_eval(*command, "--confidence").code == 0
        for other in ((), ("--threshold", 0.5)):
            ended = ner_eval(*command, *other)
            assert ended.code == 2 and "was written with another confidence" in ended.lines[0]


@pytest.mark.parametrize("command", ["extract", "predict"])
def test_a_server_without_logprobs_is_an_error_of_one_line(texts: Path, ner_eval, command: str) -> None:
    what = (texts,) if command == "extract" else ("--corpus", "demo", "--run", "r")
    with Faulty() as server:
        flags = ("--model", "nano", "--base-url", server.base_url, *FLAGS, "--confidence")
        ended = ner_eval(command, *what, *flags)
    assert (ended.code, len(ended.lines)) == (2, 1), ended.err
    assert "the server sends no log-probabilities" in ended.lines[0] and "leave --confidence out" in ended.lines[0]


def test_a_server_that_refuses_to_be_asked_for_logprobs_is_named_with_its_words(texts: Path, ner_eval) -> None:
    with Faulty(refusing_scores) as server:
        flags = ("--model", "nano", "--base-url", server.base_url, *FLAGS, "--confidence")
        ended = ner_eval("predict", "--corpus", "demo", "--run", "r", *flags)
    assert (ended.code, len(ended.lines)) == (2, 1)
    assert "Logprobs are not supported" in ended.lines[0]


def test_tokens_that_do_not_align_leave_the_entities_and_say_so(texts: Path, ner_eval) -> None:
    with Faulty(torn) as server:
        flags = ("--model", "nano", "--base-url", server.base_url, *FLAGS, "--threshold", 0.99)
        ended = ner_eval("extract", texts, *flags)
        assert ended.code == 0, ended.err
        first, _ = (json.loads(line) for line in ended.out.splitlines())
        assert first["entities"] == [{"start": 0, "end": 2, "label": "name", "text": "林晓"}]
        assert first["problems"] == ["no scores: the tokens of the answer do not add up to its text"]
        flags = ("--model", "nano", "--base-url", server.base_url, *FLAGS, "--confidence", "--run", "r")
        ended = ner_eval("predict", "--corpus", "demo", *flags)
        assert ended.code == 0 and "40 answers without scores: their tokens do not add up to them" in ended.out
        assert all(prediction.tokens == () for prediction in read_predictions(Path("runs/r")))
        ended = ner_eval("score", "r")
        assert ended.code == 0 and "WITHOUT SCORES: the tokens of 40 answers" in ended.out


def test_a_run_stores_tokens_and_cannot_be_continued_without(work: Path, ner_eval) -> None:
    with Faulty(two) as server:
        command = (
            "predict",
            "--corpus",
            "demo",
            "--run",
            "r",
            "--model",
            "nano",
            "--base-url",
            server.base_url,
            *FLAGS,
        )
        assert ner_eval(*command, "--confidence", "--limit", 5).code == 0
        stored = read_predictions(Path("runs/r"))
        assert all(sum(size for size, _ in p.tokens) == len(p.answer.encode()) for p in stored) and len(stored) == 5
        assert read_manifest(Path("runs/r")).sampling["logprobs"] is True
        ended = ner_eval(*command, "--limit", 5)
        assert ended.code == 2 and "sampling.logprobs" in ended.lines[0]
    line = json.loads(Path("runs/r/predictions.jsonl").read_text("utf-8").splitlines()[0])
    line["tokens"][0][0] += 1
    Path("runs/r/predictions.jsonl").write_text(json.dumps(line) + "\n")
    ended = ner_eval("score", "r", "--partial")
    assert ended.code == 2 and "the tokens do not add up to the answer" in ended.lines[0]


def test_a_batch_file_asks_for_logprobs_and_its_results_are_stored(work: Path, ner_eval) -> None:
    command = ("predict", "--corpus", "demo", "--run", "r", "--model", "nano", "--prompt", PROMPT, "--batch")
    assert ner_eval(*command, "--confidence", "--limit", 2).code == 0
    requests = [json.loads(line) for line in Path("runs/r/batch-requests.jsonl").read_text("utf-8").splitlines()]
    assert all(request["body"]["logprobs"] is True for request in requests)
    body = json.loads(scored([("name", "林00", 0.5)]).text or "")
    with Path("runs/r/batch-results.jsonl").open("w") as file:
        for request in requests:
            response = {"status_code": 200, "body": body}
            file.write(json.dumps({"custom_id": request["custom_id"], "response": response}) + "\n")
    assert ner_eval(*command, "--confidence", "--limit", 2).code == 0
    assert all(prediction.tokens for prediction in read_predictions(Path("runs/r")))


def test_the_library_returns_scores_beside_the_entities(work: Path) -> None:
    with Faulty(two) as server:
        recognizer = Recognizer(server.base_url, "nano", prompt=PROMPT, confidence=True)
        found = recognizer.recognize(["林晓在云帆", ""])
        assert [entity.label for entity in found[0].entities] == ["name", "company"]
        assert found[0].scores == (pytest.approx(0.9), pytest.approx(0.4))
        assert found[1].entities == () == found[1].scores
        assert Recognizer(server.base_url, "nano", prompt=PROMPT).recognize(["林晓在云帆"])[0].scores == ()


def test_the_library_leaves_out_what_is_below_a_threshold(work: Path) -> None:
    with Faulty(two) as server:
        recognizer = Recognizer(server.base_url, "nano", prompt=PROMPT, threshold=0.5)
        (found,) = recognizer.recognize(["林晓在云帆"])
        assert all(body["logprobs"] is True for body in server.bodies)
        assert [entity.label for entity in found.entities] == ["name"] and found.scores == (pytest.approx(0.9),)
        assert [entity.label for entity in found.dropped] == ["company"]
        assert recognizer.predict(["林晓在云帆"]) == [list(found.entities)]
        with pytest.raises(UserError, match=r"the model has no ner_calibration\.json to choose a threshold by"):
            Recognizer(server.base_url, "nano", prompt=PROMPT, precision=0.9).predict(["林晓在云帆"])


def test_score_and_report_show_what_scores_are_worth_and_what_a_threshold_loses(work: Path, ner_eval) -> None:
    with Faulty(two) as server:
        flags = ("--model", "nano", "--base-url", server.base_url, *FLAGS, "--confidence", "--run", "r")
        assert ner_eval("predict", "--corpus", "demo", *flags).code == 0
    ended = ner_eval("score", "r", "--threshold", 0.5)
    assert ended.code == 0, ended.err
    # Neither is right: gold has names of three characters, and no companies.
    assert "scores of 80 entities, not calibrated" in ended.out
    assert "expected calibration error 0.6500" in ended.out
    assert "kept from a score of 0.5000; lost: 0 right ones and 40 wrong ones" in ended.out
    assert json.loads(Path("runs/r/scores.json").read_text())["answers"]["scored"] == 40
    for lang, words in (("en", "Expected calibration error (ECE) 0.6500"), ("zh", "期望校准误差（ECE）0.6500")):
        assert ner_eval("report", "r", "--no-png", "--lang", lang, "--threshold", 0.5).code == 0
        assert words in Path("runs/r/report.md").read_text("utf-8")
    assert ner_eval("report", "r", "--no-png").code == 0


def test_a_run_without_scores_has_no_section_and_no_threshold(work: Path, ner_eval) -> None:
    with Faulty() as server:
        flags = ("--model", "nano", "--base-url", server.base_url, *FLAGS, "--run", "r")
        assert ner_eval("predict", "--corpus", "demo", *flags).code == 0
    assert "scores of" not in ner_eval("score", "r").out
    for command in ("score", "report"):
        ended = ner_eval(command, "r", "--threshold", 0.5)
        assert ended.code == 2 and "has no scores; predict with --confidence" in ended.lines[0]
    assert not Path("runs/r/report.html").exists()


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--threshold", 1.5), "threshold must be a score from 0 to 1, not 1.5"),
        (("--threshold", -0.1), "threshold must be a score from 0 to 1"),
        (("--threshold", "nan"), "threshold must be a score from 0 to 1"),
        (("--precision", 0), "precision must be above 0 and up to 1"),
        (("--precision", 2), "precision must be above 0 and up to 1"),
        (("--precision", 0.9, "--threshold", 0.9), "give one of them"),
        (("--per-label",), "give the precision"),
        (("--precision", 0.9), "the model has no ner_calibration.json to choose a threshold by"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(
    texts: Path, ner_eval, flags: tuple[Any, ...], problem: str
) -> None:
    with Faulty(two) as server:
        ended = ner_eval("extract", texts, "--model", "nano", "--base-url", server.base_url, *FLAGS, *flags)
    assert (ended.code, len(ended.lines)) == (2, 1), ended.err
    assert problem in ended.lines[0] and not server.asked


def test_infinite_or_positive_numbers_are_no_scores(texts: Path, ner_eval) -> None:
    async def broken(server: Faulty, body: dict[str, Any]) -> web.Response:
        return scored([("name", "林晓", 1.0)], logprobs=logprobs([('[{"label":"name","text":"林晓"}]', 3.0)]))

    async def plain(server: Faulty, body: dict[str, Any]) -> web.Response:
        return completion("[]")

    with Faulty(broken) as server:
        ended = ner_eval("extract", texts, "--model", "nano", "--base-url", server.base_url, *FLAGS, "--confidence")
        assert ended.code == 0 and ended.out.count("no scores: the tokens") == 1
    with Faulty(plain) as server:
        ended = ner_eval("extract", texts, "--model", "nano", "--base-url", server.base_url, *FLAGS, "--confidence")
        assert ended.code == 2 and "no log-probabilities" in ended.lines[0]


async def undecided(server: Faulty, body: dict[str, Any]) -> web.Response:
    """The likeliest answer has a name and a company; one in four drawn answers leaves the company out."""
    text = body["messages"][1]["content"].partition("文本：\n")[2]
    company = [] if body["temperature"] and body["seed"] == 2 else [("company", "云帆", 0.4)]
    return scored([("name", text[:2], 0.9), *company], logprobs=None)


def test_drawn_answers_vote_on_the_entities_of_the_likeliest(texts: Path, ner_eval) -> None:
    with Faulty(undecided) as server:
        command = ("extract", texts, "--model", "nano", "--base-url", server.base_url, *FLAGS, "--samples", 4)
        ended = ner_eval(*command)
        assert ended.code == 0, ended.err
        scores = [[entity["score"] for entity in json.loads(line)["entities"]] for line in ended.out.splitlines()]
        assert scores == [[1.0, 0.75]] * 2
        # No log-probabilities are needed; each draw has a seed of its own.
        asked = sorted((body["temperature"], body["seed"]) for body in server.bodies)
        assert asked == sorted([(0, 0), (0.7, 0), (0.7, 1), (0.7, 2), (0.7, 3)] * 2)
        assert not any("logprobs" in body for body in server.bodies)
        ended = ner_eval(*command, "--threshold", 0.8)
        assert "2 entities with lower scores left out" in ended.err
        ended = ner_eval(*command, "--precision", 0.8)
        assert ended.code == 2 and "votes are not; leave out --samples" in ended.lines[0]
        ended = ner_eval(*command, "--dry-run")
        assert ended.code == 2 and "leave one out" in ended.lines[0]


@pytest.mark.slow
def test_the_section_of_the_report_in_a_browser(work: Path, ner_eval, tmp_path: Path) -> None:
    async def various(server: Faulty, body: dict[str, Any]) -> web.Response:
        text = body["messages"][1]["content"].partition("文本：\n")[2]
        number = int(text[1:3])
        return scored([("name", text[:3], 0.5 + number / 100), ("company", "云帆科技", 0.05 + number / 100)])

    with Faulty(various) as server:
        flags = ("--model", "nano", "--base-url", server.base_url, *FLAGS, "--confidence", "--run", "r")
        assert ner_eval("predict", "--corpus", "demo", *flags).code == 0
    assert ner_eval("report", "r", "--no-png", "--threshold", 0.595).code == 0
    value = data_of(Path("runs/r/report.html"))["confidence"]
    assert value["cut"]["lost_right"] == 10 and value["cut"]["lost_wrong"] == 40
    with chromium(tmp_path / "profile") as browser:
        browser.open(work / "runs/r/report.html")
        keep(browser, "confidence", tmp_path)
        drawn = """return [...document.querySelectorAll('#confidence svg')].map((svg) => [svg.getAttribute('aria-label'),
            svg.querySelectorAll('rect').length, svg.querySelectorAll('circle').length,
            svg.getBoundingClientRect().width > 200, /NaN|undefined/.test(svg.outerHTML)])"""
        assert browser.run(drawn) == [
            [say("reliability"), len(value["bins"]), len(value["bins"]), True, False],
            [say("precision_recall"), 0, 1, True, False],
        ]
        table = rows(browser, "#confidence > .scroll")
        assert table[-2:] == [
            [say("all"), "80", "0.5000", "1.0000", "0.6667"],
            [say("kept"), "30", "1.0000", "0.7500", "0.8571"],
        ]
        assert say("kept_from", threshold="0.5950", right=10, wrong=40) in "".join(browser.texts("#confidence p"))
        browser.click("#language")
        assert browser.texts("#confidence h2") == [say("confidence", "en")]
