"""Who may ask and how often, what a service refuses to start with, and what its log and metrics say."""

import asyncio
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from faulty import Faulty, failure
from ner_eval.service.access import Keys, RateLimit
from support import Result, one_line_error

TEXT = "林晓在云帆科技任经理"
KEYS = ("key-one", "key-two")


def test_only_a_valid_key_may_ask(start_api, tmp_path: Path, engine: Faulty) -> None:
    (tmp_path / "keys.txt").write_text("# of tests\n\nkey-one\n  key-two  \n")
    with start_api("--api-keys", tmp_path / "keys.txt") as api:
        engine.asked.clear()
        for header in (
            "",
            "Bearer",
            "Bearer wrong",
            "Bearer key-on",
            "Bearer key-one2",
            "key-one",
            "Basic key-one",
            "Bearer \xff",
        ):
            sent = {"authorization": header.encode("latin-1")} if header else {}
            reply = api.client.post("/extract", json={"text": TEXT}, headers=sent)
            assert reply.status_code == 401 and reply.headers["www-authenticate"] == "Bearer", header
            assert "Authorization: Bearer KEY" in reply.json()["error"]
        assert api.client.get("/models").status_code == 401 and not engine.asked
        for key in KEYS:
            assert api.extract({"text": TEXT}, authorization=f"Bearer {key}").status_code == 200
        for path in ("/", "/docs", "/health", "/ready", "/metrics", "/openapi.json", "/style.css"):
            assert api.client.get(path).status_code == 200, path
        assert [line.get("key") for line in api.lines() if line["status"] == 200] == [1, 2]
    assert not any(key in api.log for key in KEYS)


def test_keys_may_come_from_the_environment(start_api) -> None:
    with start_api(NER_API_KEYS="key-one, key-two") as api:
        assert api.extract({"text": TEXT}).status_code == 401
        assert api.extract({"text": TEXT}, authorization="bearer key-two").status_code == 200


def test_keys_are_compared_as_a_whole_and_all_of_them() -> None:
    keys = Keys(KEYS)
    assert [keys.number(f"Bearer {key}") for key in (*KEYS, "key-", "key-one,key-two", "")] == [1, 2, None, None, None]
    assert keys.number("Bearer \ud800") is None and Keys(()).number("Bearer ") is None


def test_too_many_texts_are_refused_with_the_time_to_wait_for_each_key_alone(start_api) -> None:
    with start_api("--rate", 2, "--burst", 3, NER_API_KEYS=",".join(KEYS)) as api:
        one, two = ({"authorization": f"Bearer {key}"} for key in KEYS)
        assert api.extract({"texts": [TEXT] * 5}, **one).status_code == 200  # the bucket may be overdrawn
        said = api.refused(429, {"text": TEXT}, **one)
        assert "2 texts per second" in said
        reply = api.extract({"text": TEXT}, **one)
        assert 1 <= int(reply.headers["retry-after"]) <= 2
        assert api.extract({"text": TEXT}, **two).status_code == 200
        time.sleep(int(reply.headers["retry-after"]))
        assert api.extract({"text": TEXT}, **one).status_code == 200


def test_the_rate_is_held_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit, accepted = RateLimit(rate=10, burst=20), 0
    for _ in range(6000):
        now += 0.01
        accepted += 0 if limit.wait("a", 3) else 3
    assert 60 * 10 <= accepted <= 60 * 10 + 20 + 3
    assert limit.wait("b", 1) == 0
    for one in (limit, RateLimit(rate=0.001, burst=20)):
        for number in range(10_100):  # addresses cost nothing to invent
            one.wait("d", 0)
            one.wait(f"c{number}", 1)
            now += 0.01
        assert len(one._left) <= 10_000
        assert {"d", "c10099"} <= one._left.keys()  # who comes back is not forgotten


def test_more_requests_at_the_same_time_than_allowed_are_refused(start_api, engine: Faulty) -> None:
    free = threading.Event()

    async def wait(server: Faulty, body: dict[str, Any]) -> None:
        while not free.is_set():
            await asyncio.sleep(0.02)

    engine.script = wait
    with start_api("--most-requests", 2) as api:
        replies: list[int] = []
        threads = [
            threading.Thread(target=lambda: replies.append(api.extract({"text": TEXT}).status_code)) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        while engine.in_flight < 2:
            time.sleep(0.02)
        reply = api.extract({"text": TEXT})
        assert reply.status_code == 503 and reply.headers["retry-after"] == "1" and "error" in reply.json()
        assert api.client.get("/health").status_code == 200
        free.set()
        for thread in threads:
            thread.join(10)
        assert replies == [200, 200] and api.extract({"text": TEXT}).status_code == 200
    engine.script = None


def test_texts_and_entities_are_logged_only_on_demand(start_api, engine: Faulty) -> None:
    async def echo(server: Faulty, body: dict[str, Any]) -> Any:
        sentence = server.asked[-1]
        return failure(503, sentence) if sentence.startswith("秘密") else None  # the engine quotes the text

    def use(api: Any) -> str:
        engine.script = echo
        assert api.extract({"texts": [TEXT, "王五在"]}).status_code == 200
        assert api.extract({"text": "秘密在"}).status_code == 503
        assert api.client.get("/秘密?q=秘密").status_code == 404
        api.refused(422, {"text": "秘密", "labels": ["秘密"]})
        api.lines()
        return api.log

    patience = ("--patience", 3)
    with start_api(*patience) as api:
        log = use(api)
        assert not any(word in log for word in ("林晓", "王五", "秘密", "云帆")), log
        answered = next(line for line in api.lines() if line["status"] == 200)
        assert answered["path"] == "/extract" and answered["texts"] == 2 and answered["model"] == "nano"
    with start_api("--log-texts", *patience) as api:
        use(api)
        answered = next(line for line in api.lines() if line["status"] == 200)
        assert [found["text"] for found in answered["found"]] == [TEXT, "王五在"]
        assert answered["found"][0]["entities"][0]["text"] == "林晓"
    engine.script = None


def test_metrics_count_requests_texts_and_entities(start_api) -> None:
    with start_api() as api:
        api.extract({"texts": [TEXT, "王五在", ""]})
        api.extract({"texts": [TEXT], "stream": True})
        api.refused(422, {"text": TEXT, "labels": ["planet"]})
        api.client.get("/some/path/of/a/stranger")
        lines = api.client.get("/metrics").text.splitlines()
        values = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}
    assert values['ner_requests_total{path="/extract",status="200"}'] == 2
    assert values['ner_requests_total{path="/extract",status="422"}'] == 1
    assert values['ner_requests_total{path="other",status="404"}'] == 1
    assert values['ner_request_seconds_count{path="/extract"}'] == 3
    assert values['ner_texts_total{model="nano",outcome="answered"}'] == 4
    assert values['ner_entities_total{model="nano"}'] == 3 and values['ner_engines_up{model="nano"}'] == 1
    assert values["ner_requests_in_flight"] == 1  # the one for the metrics
    assert "process_cpu_seconds_total" in values and "stranger" not in "\n".join(lines)


def test_what_a_service_cannot_start_with_is_one_line(
    cli, workplace: Path, adapter_folder: Path, engine: Faulty
) -> None:
    def refused(*words: object, model: object = f"nano={adapter_folder}") -> str:
        result: Result = cli("ner-eval", "api", "--base-url", engine.base_url, "--wait", "0", "--model", model, *words)
        return one_line_error(result)

    Path("empty").write_text("# no key\n")
    Path("bad").write_text("gut\nschlüssel\n")
    assert (
        "holds no key" in refused("--api-keys", "empty") and "no such file" in refused("--api-keys", "absent").lower()
    )
    assert "bad: key 2" in refused("--api-keys", "bad")
    assert "without a key" in refused("--host", "0.0.0.0")  # noqa: S104
    Path("keys").write_text("key\n")
    assert "cannot listen there" in refused("--host", "203.0.113.1", "--api-keys", "keys")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot listen there" in refused("--port", taken.getsockname()[1])
    assert "does not serve the model 'absent'" in refused("--port", 0, model=f"absent={adapter_folder}")
    assert "ner_prompt.json" in refused("--port", 0, model="nano")
    assert "--model nano=" in refused("--port", 0, model="nano=")
    for rate in ("-1", "nan", "inf"):
        said = cli("ner-eval", "api", "--model", "nano", "--rate", rate).err.splitlines()[-1]
        assert said.endswith(f"argument --rate: must be a number of texts per second from 0, not {float(rate)}")
    assert "is there twice" in refused("--port", 0, "--model", f"nano={adapter_folder}")
    assert "absent" in refused("--port", 0, model="nano=absent/")


def test_an_engine_that_is_away_at_the_start_is_one_line(cli, adapter_folder: Path) -> None:
    words = ("--model", f"nano={adapter_folder}", "--port", "0", "--wait", "0")
    assert "no server there" in one_line_error(cli("ner-eval", "api", "--base-url", "http://127.0.0.1:1", *words))


def test_the_pages_may_load_nothing_from_elsewhere(start_api) -> None:
    with start_api() as api:
        for path in ("/", "/docs", "/page.js", "/models", "/nothing"):
            headers = api.client.get(path).headers
            assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff" and "server" not in headers
        for path in ("/", "/docs"):
            html = api.client.get(path).text
            assert "http" not in html.replace("http-equiv", "") and " style=" not in html and "<script>" not in html
        strings = json.loads(api.client.get("/strings.json").text)
        assert strings["zh"].keys() == strings["en"].keys()
