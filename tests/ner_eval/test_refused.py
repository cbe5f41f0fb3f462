"""A record that a server refuses: stored as refused, counted as an error, shown, and asked again on request."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, completion, failure
from ner_data.gold import Entity, Record, write_gold
from ner_eval.metrics.scores_file import read_scores
from ner_eval.runs.predictions import Prediction, read_predictions
from report_page import data_of

RUN = Path("runs/nano-demo-test")
FILE = RUN / "predictions.jsonl"
PREDICT = ("predict", "--model", "nano", "--corpus", "demo", "--wait", "0")
TOO_LONG = "This model's maximum context length is 64 tokens <b>|`*`"
NAMES = [f"林{n:03}" for n in range(200)]


def gold(work: Path, count: int) -> None:
    records = [Record(f"r-{n}", f"{NAMES[n]}来了", (Entity(0, 4, "name", NAMES[n]),)) for n in range(count)]
    write_gold(work / "data/gold/demo/test.jsonl", records)


def refusing(*numbers: int, status: int = 400) -> Any:
    """A server that refuses these records and finds every name in the others."""

    async def script(server: Faulty, body: dict[str, Any]) -> web.Response:
        sentence = server.asked[-1]
        if int(sentence[1:4]) in numbers:
            return failure(status, TOO_LONG)
        await asyncio.sleep(0.005)
        return completion(json.dumps([{"label": "name", "text": sentence[:4]}], ensure_ascii=False))

    return script


@pytest.mark.parametrize(("count", "bad"), [(60, 0), (200, 101)])
def test_one_refused_record_does_not_block_the_others(work, ner_eval, count, bad) -> None:
    gold(work, count)
    with Faulty(refusing(bad)) as server:
        arguments = (*PREDICT, "--base-url", server.base_url)
        ended = ner_eval(*arguments)
        assert ended.code == 1 and len(ended.lines) == 1
        assert f"the server refused 1 of {count} records" in ended.lines[0] and "--retry-refused" in ended.lines[0]
        assert TOO_LONG in ended.lines[0] and f"{count - 1} answers" in ended.out
        stored = read_predictions(RUN)
        assert [p.id for p in stored] == [f"r-{n}" for n in range(count)]
        assert [p.id for p in stored if p.error] == [f"r-{bad}"]
        before, asked = FILE.read_bytes(), len(server.asked)
        again = ner_eval(*arguments)
        assert (again.code, again.lines) == (1, ended.lines)
        assert len(server.asked) == asked == count and FILE.read_bytes() == before


def test_lines_of_answers_are_those_of_earlier_versions(work, ner_eval) -> None:
    gold(work, 3)
    with Faulty(refusing(1)) as server:
        ner_eval(*PREDICT, "--base-url", server.base_url)
    good, refused, _ = FILE.read_text().splitlines()
    head = '{"id": "r-0", "answer": "[{\\"label\\": \\"name\\", \\"text\\": \\"林000\\"}]", "finish_reason": "stop", '
    rest = r'"prompt_tokens": 9, "completion_tokens": 3, "seconds": \d\.\d+}'
    assert good.startswith(head) and re.fullmatch(rest, good.removeprefix(head)) and "error" not in good
    value = json.loads(refused)
    assert value["finish_reason"] == "refused" and value["answer"] == "" and TOO_LONG in value["error"]


def test_refused_records_are_asked_again_on_request_and_replaced(work, ner_eval) -> None:
    gold(work, 40)
    with Faulty(refusing(3, 7, 30)) as server:
        arguments = (*PREDICT, "--base-url", server.base_url)
        assert ner_eval(*arguments).code == 1
        before = FILE.read_bytes().splitlines()
        server.script = refusing(7)
        server.asked.clear()
        ended = ner_eval(*arguments, "--retry-refused")
        assert ended.code == 1 and "refused 1 of 40" in ended.lines[0]
        assert sorted(server.asked) == [f"{NAMES[n]}来了" for n in (3, 7, 30)]
        after = FILE.read_bytes().splitlines()
        assert len(after) == 40 and [n for n in range(40) if after[n] != before[n]] in ([3, 30], [3, 7, 30])
        server.script = refusing()
        assert ner_eval(*arguments, "--retry-refused").code == 0
        server.asked.clear()
        assert ner_eval(*arguments, "--retry-refused").code == 0 and not server.asked
    assert not any(p.error for p in read_predictions(RUN))


def test_a_server_that_refuses_every_request_ends_the_run_and_nothing_is_stored(work, ner_eval) -> None:
    gold(work, 40)
    with Faulty(refusing(*range(40))) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url)
    assert ended.code == 2 and len(ended.lines) == 1 and "(all 40 requests were refused)" in ended.lines[0]
    assert not RUN.exists()


def test_what_is_in_flight_is_kept_when_the_run_ends_early(work, ner_eval) -> None:
    async def script(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        number = len(server.asked)
        await asyncio.sleep(0.3 if number < 8 else 0.05)
        return failure(401, "no key") if number == 8 else None

    with Faulty(script) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--concurrency", 8)
    assert ended.code == 2 and "no key" in ended.lines[0] and len(server.asked) == 8
    assert len(read_predictions(RUN)) == 7


def scored_run(work: Path, ner_eval: Any, *refused: int) -> None:
    gold(work, 20)
    with Faulty(refusing(*refused)) as server:
        ner_eval(*PREDICT, "--base-url", server.base_url)


def test_a_refusal_counts_as_an_error_in_scores_and_says_what_to_do(work, ner_eval) -> None:
    scored_run(work, ner_eval, 4, 5)
    ended = ner_eval("score", "nano-demo-test", "--protocol", "all")
    assert ended.code == 0
    assert "REFUSED: the server refused 2 of 20 records" in ended.out and "--retry-refused" in ended.out
    scores = read_scores(RUN / "scores.json")
    assert (scores.answers.scored, scores.answers.refused, scores.answers.unparsable) == (20, 2, 0)
    for reading in scores.readings.values():
        for by_label in reading.counts.values():
            name = by_label["name"]
            assert (name.tp, name.fp, name.fn) == (18, 0, 2)


def test_a_refusal_is_no_missing_answer_and_partial_changes_nothing(work, ner_eval) -> None:
    scored_run(work, ner_eval, 4)
    whole = ner_eval("score", "nano-demo-test").out
    assert ner_eval("score", "nano-demo-test", "--partial").out == whole and "PARTIAL" not in whole
    FILE.write_bytes(b"".join(FILE.read_bytes().splitlines(keepends=True)[:10]))
    out = ner_eval("score", "nano-demo-test", "--partial").out
    assert "PARTIAL: 10 of 20" in out and "refused 1 of 10 records" in out


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_report_lists_refused_records_with_the_servers_words(work, ner_eval, language) -> None:
    scored_run(work, ner_eval, 4)
    assert ner_eval("report", "nano-demo-test", "--no-png", "--lang", language).code == 0
    html, text = ((RUN / name).read_text("utf-8") for name in ("report.html", "report.md"))
    data = data_of(RUN / "report.html")
    assert data["answers"]["refused"] == 1
    [example] = data["examples"]
    assert example["id"] == "r-4" and example["problems"] == ["refused"] and TOO_LONG in example["answer"]
    assert [kind for kind, *_ in example["pairs"]] == ["missed"]
    assert "<b>" not in html and "<b>" not in text and "--retry-refused" in text
    assert "maximum context length" in text and "refused_warning" not in text


def test_a_refused_record_without_entities_is_an_error_and_not_one_of_form(work, ner_eval) -> None:
    write_gold(work / "data/gold/demo/test.jsonl", [Record("a", "林000来了", ()), Record("b", "林001来了", ())])
    with Faulty(refusing(0)) as server:
        ner_eval(*PREDICT, "--base-url", server.base_url)
    ner_eval("report", "nano-demo-test", "--no-png")
    data = data_of(RUN / "report.html")
    assert [example["id"] for example in data["examples"]] == ["a", "b"]
    assert "sum_sentences_form" not in [key for key, _ in data["sums"]["examples"]]


def test_compare_shows_refusals(work, ner_eval) -> None:
    scored_run(work, ner_eval, 4, 5, 6)
    with Faulty(refusing()) as server:
        ner_eval(*PREDICT, "--base-url", server.base_url, "--run", "whole")
    out = ner_eval("compare", "whole", "nano-demo-test").out
    header = next(line for line in out.splitlines() if line.split()[:1] == ["Run"])
    row = next(line for line in out.splitlines() if line.split()[:1] == ["nano-demo-test"])
    assert header.split()[-1] == "refused" and row.split()[-1] == "3" and "--retry-refused" in out
    assert "refused" not in ner_eval("compare", "whole", "whole").out
    assert ner_eval("report", "whole", "--compare", "nano-demo-test", "--no-png", "--lang", "en").code == 0
    assert "the server refused 3 records" in (Path("runs/whole") / "report.md").read_text("utf-8").replace("\\", "")


@pytest.mark.parametrize("order", [("x", ""), ("x", "y"), ("x", "y", "")])
def test_a_later_line_replaces_a_refusal_but_never_an_answer(tmp_path: Path, order: tuple[str, ...]) -> None:
    lines = [Prediction.refused("a", words) if words else Prediction("a", "[]", "stop", 1, 1, 0.1) for words in order]
    (tmp_path / "predictions.jsonl").write_bytes(b"".join(line.as_line() for line in lines))
    assert read_predictions(tmp_path) == [lines[-1]]


def test_refused_requests_of_a_batch_are_stored_and_failed_ones_sent_again(work, ner_eval) -> None:
    batch = ("predict", "--batch", "--model", "nano", "--corpus", "demo", "--limit", 5, "--run", "b")
    results, requests = (Path(f"runs/b/batch-{name}.jsonl") for name in ("results", "requests"))

    def answer(statuses: dict[int, int]) -> None:
        lines = []
        for request in map(json.loads, requests.read_text().splitlines()):
            status = statuses.get(int(request["custom_id"].rsplit("-", 1)[1]), 200)
            good = {"choices": [{"message": {"content": "[]"}, "finish_reason": "stop"}]}
            body = good if status == 200 else {"error": {"message": f"no {status}"}}
            lines.append(
                {"custom_id": request["custom_id"], "response": {"status_code": status, "body": body}, "error": None}
            )
        results.write_text("".join(json.dumps(line) + "\n" for line in lines))

    ner_eval(*batch)
    answer({1: 400, 2: 429, 3: 500, 4: 401})
    out = ner_eval(*batch).out
    assert "stored 1 new answers, refused 1, failed 3" in out and "3 requests" in out
    answer({2: 408})
    assert "stored 2 new answers, failed 1" in ner_eval(*batch).out
    answer({})
    ended = ner_eval(*batch)
    assert ended.code == 1 and "HTTP 400: 'no 400'" in ended.lines[0] and not results.exists()
    again = ner_eval(*batch, "--retry-refused")
    assert again.code == 0 and "1 requests" in again.out
    answer({1: 400})
    assert ner_eval(*batch, "--retry-refused").code == 1  # refused again: not asked for ever
    ner_eval(*batch, "--retry-refused")
    answer({})
    assert ner_eval(*batch, "--retry-refused").code == 0
    assert [p.answer for p in read_predictions(Path("runs/b"))] == ["[]"] * 5


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight attempts in a second."""
    monkeypatch.setattr("ner_eval.inference.client.FIRST_DELAY", 0.02)
    monkeypatch.setattr("ner_eval.inference.client.LONGEST_DELAY", 0.1)


@pytest.mark.usefixtures("hasty")
def test_a_server_that_fails_on_everything_half_way_refuses_no_record(work, ner_eval) -> None:
    gold(work, 60)

    async def script(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        return failure(500) if len(server.asked) > 20 else None

    with Faulty(script) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--concurrency", 4)
    assert ended.code == 2 and "HTTP 500" in ended.lines[-1]
    stored = read_predictions(RUN)
    assert len(stored) == 20 and not any(prediction.error for prediction in stored)


@pytest.mark.usefixtures("hasty")
def test_the_last_record_is_refused_if_the_server_still_answers_another(work, ner_eval) -> None:
    gold(work, 20)

    async def script(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        return failure(500) if server.asked[-1].startswith("林019") else None

    with Faulty(script) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--concurrency", 1)
    assert ended.code == 1 and len(server.asked) == 19 + 8 + 1
    assert [prediction.id for prediction in read_predictions(RUN) if prediction.error] == ["r-19"]


def test_a_record_on_which_the_server_hangs_is_refused_if_it_answers_others(work, ner_eval) -> None:
    gold(work, 20)

    async def script(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        if server.asked[-1].startswith("林007"):
            await asyncio.sleep(60)
        return None

    with Faulty(script) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--timeout", 1, "--patience", 2)
    assert ended.code == 1 and "the server refused 1 of 20 records" in ended.lines[-1]
    assert [prediction.id for prediction in read_predictions(RUN) if prediction.error] == ["r-7"]


def test_records_in_flight_when_the_server_goes_are_not_refused(work, ner_eval) -> None:
    gold(work, 60)

    async def script(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        if len(server.asked) > 20:
            await asyncio.sleep(60)
        return None

    with Faulty(script) as server:
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--timeout", 1, "--patience", 2, "--concurrency", 4)
    assert ended.code == 2 and "no answer for 2 s" in ended.lines[-1]
    assert not any(prediction.error for prediction in read_predictions(RUN))
