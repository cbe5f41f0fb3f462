"""`ner-eval api` in front of the real vLLM."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api_process import Api
from ner_data.gold import read_gold
from ner_eval import Recognizer

pytestmark = pytest.mark.serve


def test_the_service_finds_what_the_library_finds_with_scores(server, chain: Path, adapter: Path) -> None:
    texts = [record.text for record in read_gold(chain / "data/gold/demo/test.jsonl")][:12]
    expected = [
        [entity.as_json() for entity in entities]
        for entities in Recognizer(server.base_url, "nano-lora", adapter).predict(texts)
    ]
    assert any(expected)
    names = [word for name in ("nano-lora", "nano") for word in ("--model", f"{name}={adapter / 'ner_prompt.json'}")]
    with Api(*names, "--base-url", server.base_url, "--deadline", 240, "--timeout", 200) as api:
        api.client.timeout = 240
        assert api.client.get("/ready").status_code == 200
        many = api.extract({"texts": texts}).json()["results"]
        assert [result["entities"] for result in many] == expected
        lines = api.extract({"texts": texts, "scores": True, "stream": True}).text.splitlines()
        scored = [json.loads(line)["entities"] for line in lines]
        assert [[{**e, "score": None} for e in result] for result in scored] == [
            [{**e, "score": None} for e in result] for result in expected
        ]
        scores = [entity["score"] for result in scored for entity in result]
        assert all(0 <= score <= 1 for score in scores) and len(set(scores)) > 5
        middle = sorted(scores)[len(scores) // 2]
        kept = api.extract({"texts": texts, "threshold": middle}).json()["results"]
        assert sum(len(result["entities"]) for result in kept) == sum(score >= middle for score in scores)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_of_two_engines_is_restarted_under_load_and_no_request_is_lost(server, own_server, chain, adapter) -> None:
    texts = [record.text for record in read_gold(chain / "data/gold/demo/test.jsonl")][:40]
    engines = ("--base-url", server.base_url, "--base-url", own_server.base_url)
    ended, replies = threading.Event(), []

    def ask(first: int) -> None:
        while not ended.is_set():
            text = texts[(first + len(replies)) % len(texts)]
            reply = api.extract({"text": text})
            replies.append((text, reply.status_code, reply.json()))

    def answers_more(than: int) -> int:
        """Wait until the engine that is restarted has answered more."""
        while (answered := own_server.answered()) <= than:
            time.sleep(0.2)
        return answered

    model = f"nano={adapter / 'ner_prompt.json'}"
    with Api("--model", model, *engines, "--deadline", 240, "--timeout", 200) as api, ThreadPoolExecutor(8) as pool:
        api.client.timeout = 240
        users = [pool.submit(ask, number) for number in range(8)]
        try:
            answered = answers_more(answers_more(own_server.answered()) + 10)
            own_server.stop()
            before = len(replies)
            own_server.start()
            own_server.wait()
            assert len(replies) > before + 20  # the other engine has answered
            answers_more(answered + 10)
        finally:
            ended.set()
        for user in users:
            user.result()
        assert f"{own_server.base_url} does not answer" in api.log
        assert f"{own_server.base_url} answers again" in api.log
    by_text: dict[str, list[Any]] = {}
    for text, status, reply in replies:
        assert status == 200, reply
        by_text.setdefault(text, []).append(reply["results"][0]["entities"])
    assert all(found == [found[0]] * len(found) and found[0] is not None for found in by_text.values())
