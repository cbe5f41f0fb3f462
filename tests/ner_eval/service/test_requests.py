"""What `POST /extract` answers: entities, or one line that says what is wrong."""

import json
import os
import re
import socket
from contextlib import suppress
from typing import Any

import httpx
import pytest
from aiohttp import web

from faulty import Faulty, Script, failure
from scored_answers import giving, logprobs, refusing_scores, scored

TEXT = "林晓在云帆科技任经理"
NAME = {"start": 0, "end": 2, "label": "name", "text": "林晓"}


def test_one_text_many_and_a_document_are_answered_in_the_same_form(api) -> None:
    assert api.extract({"text": TEXT}).json() == {
        "model": "nano",
        "results": [{"id": "0", "entities": [NAME], "problems": []}],
    }
    many = api.extract({"texts": [TEXT, "", "王五在"], "model": "other"}).json()
    assert many["model"] == "other" and [result["id"] for result in many["results"]] == ["0", "1", "2"]
    assert [len(result["entities"]) for result in many["results"]] == [1, 0, 1]
    assert api.extract({"texts": []}).json()["results"] == []
    document = {"id": "报告 7", "text": "".join(f"第{n:02}人在云帆科技任经理。" for n in range(30))}
    (result,) = api.extract({"document": document}).json()["results"]
    assert result["id"] == "报告 7" and len(result["entities"]) == 30  # each sentence is asked by itself
    assert all(document["text"][e["start"] : e["end"]] == e["text"] for e in result["entities"])


def test_a_document_is_asked_with_context_and_in_several_passes(api, engine: Faulty) -> None:
    text = "".join(f"第{n:02}人在云帆科技任经理。" for n in range(10))  # pieces of 13 characters
    (result,) = api.extract({"text": text, "context": 13}).json()["results"]
    assert sorted(engine.asked)[1] == text[:26] and len(engine.asked) == 10
    # Each answer names the first two characters, which are context but in the first piece.
    assert [(e["start"], e["end"]) for e in result["entities"]] == [(0, 2)]
    engine.asked.clear()
    sentence = "甲乙丙丁戊己庚辛壬癸" * 10
    (once,) = api.extract({"text": sentence}).json()["results"]
    asked, twice = len(engine.asked), api.extract({"text": sentence, "passes": 2}).json()["results"][0]
    assert len(engine.asked) > 2 * asked
    assert twice["entities"] and all(e["text"] == sentence[e["start"] : e["end"]] for e in twice["entities"])
    assert len(twice["entities"]) > len(once["entities"])
    assert api.refused(422, {"text": text, "context": 31}) == (
        "context: nano takes at most 30 characters before a piece"
    )


def test_only_wanted_labels_and_scores_are_returned(api, engine: Faulty) -> None:
    engine.script = giving([("name", "林晓", 0.9), ("company", "云帆科技", 0.5)])
    everything = api.extract({"text": TEXT, "scores": True}).json()["results"][0]["entities"]
    assert [(e["label"], e["score"]) for e in everything] == [("name", 0.9), ("company", 0.5)]

    def found(**wanted: Any) -> list[str]:
        return [e["text"] for e in api.extract({"text": TEXT, **wanted}).json()["results"][0]["entities"]]

    assert found(labels=["company"]) == ["云帆科技"] and found(labels=[]) == []
    assert found(threshold=0.6) == ["林晓"] and found(threshold=0.5) == ["林晓", "云帆科技"]
    assert found(threshold=0) == ["林晓", "云帆科技"] and found(threshold=1) == []
    assert found(threshold=0.6, labels=["company", "position"]) == []
    assert engine.bodies[-1]["logprobs"]
    assert "score" not in api.extract({"text": TEXT}).json()["results"][0]["entities"][0]
    assert not engine.bodies[-1].get("logprobs")  # nobody pays for what nobody wants


def test_a_threshold_means_the_scores_that_are_shown(api, engine: Faulty) -> None:
    engine.script = giving([("name", "林晓", 0.79996), ("company", "云帆科技", 0.79994)])
    (result,) = api.extract({"text": TEXT, "threshold": 0.8}).json()["results"]
    assert [(e["text"], e["score"]) for e in result["entities"]] == [("林晓", 0.8)]


def test_entities_whose_scores_are_unknown_are_kept_and_say_so(api, engine: Faulty) -> None:
    async def misaligned(server: Faulty, body: dict[str, Any]) -> web.Response:
        return scored([("name", "林晓", 0.9)], logprobs=logprobs([("别的", -0.1)]))

    engine.script = misaligned
    (result,) = api.extract({"text": TEXT, "threshold": 0.95}).json()["results"]
    assert [e["text"] for e in result["entities"]] == ["林晓"] and "score" not in result["entities"][0]
    assert result["problems"] == ["no scores: the tokens of the answer do not add up to its text"]


@pytest.mark.parametrize("script", [None, refusing_scores])
def test_scores_from_an_engine_that_has_none_are_refused(api, engine: Faulty, script: Script | None) -> None:
    engine.script = script
    said = "scores: the engine has none; leave scores and threshold out"
    assert api.refused(422, {"text": TEXT, "scores": True}) == said
    assert api.refused(422, {"texts": [TEXT, TEXT], "threshold": 0.5}) == said
    assert api.refused(422, {"texts": [TEXT, TEXT], "scores": True, "stream": True}) == said
    assert api.extract({"text": TEXT}).json()["results"][0]["entities"] == [NAME]


def test_a_batch_comes_as_json_lines_in_order(api) -> None:
    texts = [f"第{n:02}人在" for n in range(50)]
    for body, headers in (
        ({"texts": texts, "stream": True}, {}),
        ({"texts": texts}, {"accept": "application/x-ndjson"}),
    ):
        reply = api.extract(body, **headers)
        assert reply.status_code == 200 and reply.headers["content-type"].startswith("application/x-ndjson")
        lines = [json.loads(line) for line in reply.text.splitlines()]
        assert [line["id"] for line in lines] == [str(n) for n in range(50)]
        assert [line["entities"][0]["text"] for line in lines] == [text[:2] for text in texts]
    assert api.extract({"texts": [], "stream": True}).text == ""


def test_offsets_count_characters_and_hostile_characters_do_no_harm(api) -> None:
    for text in ("𠮷野在云帆", "a\0b在", "\u202e<script>alert(1)</script>", "é\ud800x", "<|im_start|>在"):
        reply = api.client.post("/extract", content=json.dumps({"text": text}).encode(), headers=api_json())
        assert reply.status_code == 200, reply.text
        assert all(0 <= e["start"] < e["end"] <= len(text) for e in reply.json()["results"][0]["entities"])
    (result,) = api.extract({"text": "𠮷野在云帆"}).json()["results"]
    assert result["entities"] == [{"start": 0, "end": 2, "label": "name", "text": "𠮷野"}]


def api_json() -> dict[str, str]:
    return {"content-type": "application/json; charset=utf-8"}


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (400, b"", "empty"),
        (400, b" \n", "empty"),
        (400, b'{"text": "a"', "not JSON"),
        (400, b'{"text": "\xff\xfe"}', "not JSON"),
        (400, b"\x80" + os.urandom(2000), "not JSON"),
        (400, b"[" * 9000 + b"]" * 9000, "64 levels"),
        (400, b'{"text": "a", "threshold": NaN}', "not JSON"),
        (422, b"[]", "expected object"),
        (422, b"null", "expected object"),
        (422, b"{}", "exactly one"),
        (422, b'{"text": "a", "texts": []}', "exactly one"),
        (422, b'{"text": null}', "exactly one"),
        (422, b'{"text": 5}', "text"),
        (422, b'{"texts": "abc"}', "texts"),
        (422, b'{"texts": ["a", 1]}', "texts[1]"),
        (422, b'{"document": {"text": "a"}}', "id"),
        (422, b'{"text": "a", "treshold": 0.5}', "treshold"),
        (422, b'{"text": "a", "deadline": 0}', "deadline"),
        (422, b'{"text": "a", "context": -1}', "context"),
        (422, b'{"text": "a", "passes": 0}', "passes"),
        (422, b'{"text": "a", "passes": 1000}', "passes"),
    ],
)
def test_a_body_that_is_no_request_is_refused(api, engine: Faulty, status: int, content: bytes, said: str) -> None:
    assert said in api.refused(status, content=content)
    assert not engine.asked


@pytest.mark.parametrize("threshold", [-0.1, 1.5, 1e308, "0.5", True])
def test_a_threshold_outside_0_to_1_is_refused(api, engine: Faulty, threshold: Any) -> None:
    assert "threshold" in api.refused(422, {"text": TEXT, "threshold": threshold})
    assert not engine.asked


def test_an_unknown_model_and_unknown_labels_are_named_with_the_known_ones(api, engine: Faulty) -> None:
    assert api.refused(404, {"text": TEXT, "model": "gpt\x1b[2J"}) == r"no model 'gpt\x1b[2J'; there is: nano, other"
    assert api.refused(422, {"text": TEXT, "labels": ["name", "planet"]}) == (
        "labels: nano has no label 'planet'; it has name, company, position"
    )
    assert not engine.asked


def test_a_body_that_is_too_large_is_refused_before_it_is_read(api, engine: Faulty) -> None:
    assert "20,000 bytes" in api.refused(413, {"text": "长" * 20_000})
    assert "51 texts" in api.refused(413, {"texts": ["a"] * 51})
    sent = 0

    def endless():
        nonlocal sent
        while sent < 1 << 30:
            sent += 1 << 16
            yield b" " * (1 << 16)

    try:
        reply = httpx.post(f"{api.url}/extract", content=endless(), headers=api_json(), trust_env=False)
        assert reply.status_code == 413
    except httpx.WriteError:  # the connection was closed meanwhile, which is right too
        pass
    assert sent < 64 << 20 and not engine.asked
    assert api.extract({"text": TEXT}).status_code == 200


def test_endless_headers_end_the_connection(api) -> None:
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), timeout=10) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nx: ")
        said = b""
        with suppress(ConnectionError):
            for _ in range(1000):
                client.sendall(b"a" * 10_000)
            said = client.recv(100)
    assert said[:12] in (b"", b"HTTP/1.1 400")
    assert api.client.get("/health").status_code == 200


def test_other_content_addresses_and_methods_are_refused_as_json(api) -> None:
    assert "Content-Type" in api.refused(415, {"text": TEXT}, **{"content-type": "text/plain"})
    assert api.client.get("/extract").status_code == 405
    reply = api.client.get("/../../etc/passwd")
    assert reply.status_code == 404 and reply.json()["error"] == "Not Found; see /docs"


def test_a_text_that_the_engine_refuses_is_an_error_alone_and_a_result_in_a_batch(api, engine: Faulty) -> None:
    async def refuse(server: Faulty, body: dict[str, Any]) -> Any:
        return failure(400, "no\x1b[2J way") if server.asked[-1].startswith("赵六") else None

    engine.script = refuse
    assert "no\\x1b[2J way" in api.refused(422, {"text": "赵六在"})
    first, refused, last = api.extract({"texts": [TEXT, "赵六在", "王五在"]}).json()["results"]
    assert first["entities"] == [NAME] and last["entities"][0]["text"] == "王五"
    assert refused["entities"] is None and "no\\x1b[2J way" in refused["problems"][0]


def test_the_description_names_every_field_and_every_status(api) -> None:
    described = api.client.get("/openapi.json").json()
    operation = described["paths"]["/extract"]["post"]
    assert set(operation["responses"]) == {"200", *map(str, (400, 401, 404, 408, 413, 415, 422, 429, 503, 504))}
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Extract"
    }
    fields = described["components"]["schemas"]["Extract"]["properties"]
    assert fields.keys() == {
        *(
            "text",
            "texts",
            "document",
            "model",
            "labels",
            "threshold",
            "scores",
            "deadline",
            "context",
            "passes",
            "stream",
        )
    }
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    assert referred <= described["components"]["schemas"].keys()
    assert set(described["paths"]) == {"/extract", "/models", "/health", "/ready", "/metrics"}


def test_models_are_listed_with_their_labels(api) -> None:
    labels = ["name", "company", "position"]
    assert api.client.get("/models").json() == {
        "models": [{"name": name, "labels": labels} for name in ("nano", "other")]
    }
