"""`ner-eval api` in front of the real vLLM."""

import json
from pathlib import Path

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
