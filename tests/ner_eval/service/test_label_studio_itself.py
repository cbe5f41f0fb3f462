"""Label Studio itself, from the registry, asks the service while somebody annotates in a browser."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_process import Api
from browser import Browser, chromium
from ner_data.gold import read_gold
from ner_eval import Recognizer
from support import Served, free_port, tool

pytestmark = [pytest.mark.serve, pytest.mark.slow]

EMAIL, PASSWORD, TOKEN, KEY, ENTER = "a@example.com", "annotator-1", "0123456789" * 4, "key-one", "\ue007"
# It refuses addresses of its own machine unless told so, and would report to its makers.
SETTINGS = {
    "USE_DEFAULT_BANNED_SUBNETS": "false", "USER_ADDITIONAL_BANNED_SUBNETS": "169.254.0.0/16", "COLLECT_ANALYTICS": "0",
    "LATEST_VERSION_CHECK": "0",
}  # fmt: skip
LABELS = "".join(f'<Label value="{label}"/>' for label in ("company", "address", "game", "organization", "position"))
INTERFACE = (
    f'<View><Labels name="label" toName="text"><Label value="姓名" alias="name"/>{LABELS}</Labels>'
    '<Text name="text" value="$text"/></View>'
)


def until(found: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.5)
    return value


@contextmanager
def label_studio(folder: Path) -> Iterator[httpx.Client]:
    """A fresh Label Studio; the client may use its API."""
    port = free_port()
    words = ["start", "--no-browser", "--port", str(port), "--internal-host", "127.0.0.1", "--data-dir", str(folder)]
    words += ["--username", EMAIL, "--password", PASSWORD, "--user-token", TOKEN, "--enable-legacy-api-token"]
    with (folder / "log").open("wb") as log:
        command = [tool(".venv-label-studio", "label-studio"), *words]
        process = subprocess.Popen(command, env=os.environ | SETTINGS, stdout=log, stderr=log)
    url, header = f"http://127.0.0.1:{port}", {"authorization": f"Token {TOKEN}"}
    try:
        with httpx.Client(base_url=url, headers=header, timeout=120, trust_env=False) as client:
            until(lambda: answers(process, client), 300)
            yield client
    finally:
        process.terminate()
        process.wait()


def answers(process: subprocess.Popen[bytes], client: httpx.Client) -> bool:
    assert process.poll() is None
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def submit(browser: Browser, address: str) -> list[str]:
    """Open a task in the editor and submit what is there; returns what was marked in the text."""
    browser.open(address)
    button = "button[aria-label='Submit current annotation']"
    until(lambda: browser.texts(button) and browser.texts("[class*=htx-highlight]"))
    marked: list[str] = browser.texts("[class*=htx-highlight]")
    browser.click(button)
    return marked


@pytest.mark.timeout(1200)
def test_an_annotator_submits_what_the_model_found(
    server: Served, chain: Path, adapter: Path, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    texts = [f"😀{record.text}" for record in read_gold(chain / "data/gold/demo/test.jsonl")][:20]
    asked = {"name", "company", "address", "game", "organization", "position"}
    expected = {
        text: [(e.start, e.end, e.label) for e in found if e.label in asked]
        for text, found in zip(texts, Recognizer(server.base_url, "nano-lora", adapter).predict(texts), strict=True)
    }
    assert any(expected.values())
    named = f"nano-lora={adapter / 'ner_prompt.json'}"
    with (
        label_studio(folder) as studio,
        Api("--model", named, "--base-url", server.base_url, "--timeout", 200, NER_API_KEYS=KEY) as api,
    ):
        project = studio.post("/api/projects", json={"title": "walk", "label_config": INTERFACE}).json()["id"]
        studio.post(f"/api/projects/{project}/import", json=[{"text": text} for text in texts]).raise_for_status()
        backend = {"project": project, "url": f"{api.url}/label-studio", "title": "ner"}
        refused = studio.post("/api/ml", json={**backend, "auth_method": "NONE"})
        assert refused.status_code == 400 and "401" in refused.text
        access = {"auth_method": "BASIC_AUTH", "basic_auth_user": "any", "basic_auth_pass": KEY}
        connected = studio.post("/api/ml", json={**backend, **access}).json()
        assert connected["readable_state"] == "Connected" and connected["model_version"] == "nano-lora"
        action = {"id": "retrieve_tasks_predictions", "project": project}
        selected = {"selectedItems": {"all": True, "excluded": []}}
        studio.post("/api/dm/actions", params=action, json=selected).raise_for_status()
        tasks = studio.get("/api/tasks", params={"project": project, "fields": "all", "page_size": 100}).json()[
            "tasks"
        ]
        assert {task["data"]["text"]: spans(task["predictions"][0]["result"]) for task in tasks} == expected
        # Answers with half an emoji in them have no scores: their tokens do not add up to their text.
        scores = [score for task in tasks if (score := task["predictions"][0]["score"]) is not None]
        assert all(0 <= score <= 1 for score in scores) and len(set(scores)) > 5
        chosen = [task for task in tasks if expected[task["data"]["text"]]][:2]
        with chromium(tmp_path / "profile") as browser:
            browser.open(f"{studio.base_url}/user/login")
            browser.press("input[name=email]", EMAIL)
            browser.press("input[name=password]", PASSWORD + ENTER)
            until(lambda: "login" not in browser.run("return location.href"))
            for task in chosen:
                text = task["data"]["text"]
                address = f"{studio.base_url}/projects/{project}/data?task={task['id']}"
                assert submit(browser, address) == [text[start:end] for start, end, _ in expected[text]]
                until(partial(annotations, studio, task["id"]))
        exported = studio.get(f"/api/projects/{project}/export", params={"exportType": "JSON"})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corrected.json").write_bytes(exported.content)
    assert cli("ner-data", "init", "corrected", "corrected.json").code == 0
    assert cli("ner-data", "convert", "corrected", "--raw", tmp_path).code == 0
    gold = {record.text: record.gold for record in read_gold(tmp_path / "data/gold/corrected/train.jsonl")}
    assert {text: [(e.start, e.end, e.label) for e in found] for text, found in gold.items()} == {
        task["data"]["text"]: expected[task["data"]["text"]] for task in chosen
    }


def annotations(studio: httpx.Client, task: int) -> list[Any]:
    found: list[Any] = studio.get(f"/api/tasks/{task}").json()["annotations"]
    return found


def spans(results: list[dict[str, Any]]) -> list[tuple[int, int, str]]:
    return [(one["value"]["start"], one["value"]["end"], one["value"]["labels"][0]) for one in results]
