"""`ner-model reload` on a real vLLM server, while clients ask it without a pause."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from api_process import Api, until
from ner_data.prompt import PromptSpec
from serving_support import write_tensor
from support import ROOT, Served, free_port, tool

pytestmark = pytest.mark.serve
CLIENTS = 4
OTHER = ROOT / "tests/previous/lora"  # trained on demo as well, for longer and with another rank


def ner_model(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [tool(".venv-serve", "ner-model"), *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


class Asker:
    """Asks one server for the first test sentences of demo."""

    def __init__(self, base_url: str, folder: Path, count: int = 10) -> None:
        self.spec = PromptSpec.load(folder / "data/alpaca/demo.prompt.json")
        lines = (folder / "data/gold/demo/test.jsonl").read_text(encoding="utf-8").splitlines()
        self.texts = [json.loads(line)["text"] for line in lines[:count]]
        self.client = httpx.Client(base_url=base_url, timeout=120)

    def ask(self, model: str, number: int) -> httpx.Response:
        messages = self.spec.messages(self.texts[number])
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": self.spec.max_tokens}
        return self.client.post("/chat/completions", json=body)

    def answers(self, model: str) -> list[str]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda n: answer_of(self.ask(model, n)), range(len(self.texts))))

    def folder_of(self, model: str) -> str:
        cards = self.client.get("/models").json()["data"]
        return str(next(card["root"] for card in cards if card["id"] == model))

    @contextmanager
    def load(self, *models: str) -> Iterator[list[tuple[str, int, httpx.Response]]]:
        """Clients that ask one model after the other without a pause; all their replies."""
        replies: list[tuple[str, int, httpx.Response]] = []
        end = threading.Event()

        def client(first: int) -> None:
            at = first
            while not end.is_set():
                model, number = models[at % len(models)], at // len(models) % len(self.texts)
                replies.append((model, number, self.ask(model, number)))
                at += 1

        with ThreadPoolExecutor(CLIENTS) as pool:
            running = [pool.submit(client, 5 * n) for n in range(CLIENTS)]
            try:
                yield replies
            finally:
                end.set()
        for one in running:
            one.result()  # a refused or dropped connection fails the test


def answer_of(response: httpx.Response) -> str:
    return str(response.raise_for_status().json()["choices"][0]["message"]["content"])


def test_an_adapter_is_exchanged_and_back_under_load_without_a_failed_or_a_mixed_answer(
    server: Served, adapter: Path
) -> None:
    asker = Asker(server.base_url, server.folder)
    port = ("--port", server.port)
    base, old, first = asker.answers("nano"), asker.answers("nano-lora"), asker.folder_of("nano-lora")
    with asker.load("nano-lora", "nano-lora", "nano") as replies:
        deadline = time.monotonic() + 120
        while len(replies) < CLIENTS and time.monotonic() < deadline:
            time.sleep(0.05)
        done = ner_model(server.folder, "reload", f"nano-lora={OTHER}", *port)
        assert done.returncode == 0, done.stderr
        new, second, asked = asker.answers("nano-lora"), asker.folder_of("nano-lora"), len(replies)
        back = ner_model(server.folder, "reload", "--rollback", "nano-lora", *port)
        assert back.returncode == 0, back.stderr
        again = asker.answers("nano-lora")
    assert f"go back with: ner-model reload --rollback nano-lora --port {server.port}" in done.stdout
    assert sum(one != other for one, other in zip(old, new, strict=True)) >= 4
    assert again == old and asker.folder_of("nano-lora") == first != second
    weights = [Path(folder, "adapter_model.safetensors").read_bytes() for folder in (adapter, OTHER)]
    assert [
        (server.folder / folder / "adapter_model.safetensors").read_bytes() for folder in (first, second)
    ] == weights
    assert asked > CLIENTS and len(replies) > asked
    for model, number, response in replies:
        possible = {base[number]} if model == "nano" else {old[number], new[number]}
        assert answer_of(response) in possible


def test_a_service_in_front_of_it_follows_without_a_restart(server: Served, adapter: Path) -> None:
    asker = Asker(server.base_url, server.folder)
    names = ("--model", "nano-lora", "--base-url", server.base_url)
    with Api(*names, "--timeout", 200, cwd=server.folder) as api:
        api.client.timeout = 240

        def version_and_answers() -> tuple[str, list[object]]:
            (version,) = api.client.get("/label-studio/versions").json()["versions"]
            return version, [api.extract({"text": text}).json()["results"][0]["entities"] for text in asker.texts]

        before = version_and_answers()
        assert ner_model(server.folder, "reload", f"nano-lora={OTHER}", "--port", server.port).returncode == 0
        until(lambda: "nano-lora: exchanged" in api.log)
        version, answers = version_and_answers()
        assert version != before[0] and answers != before[1]
        assert ner_model(server.folder, "reload", "--rollback", "nano-lora", "--port", server.port).returncode == 0
        until(lambda: api.log.count("nano-lora: exchanged") == 2)
        assert version_and_answers() == before


def test_clients_cannot_exchange_adapters(server: Served) -> None:
    root = server.base_url.removesuffix("/v1")
    wanted = {"name": "nano-lora", "path": str(OTHER)}
    assert httpx.post(f"{root}/ner/adapters", json=wanted, timeout=30).status_code == 403
    for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters"):
        body = {"lora_name": "x", "lora_path": wanted["path"], "name": "x", "src": wanted["path"]}
        assert httpx.post(f"{root}{path}", json=body, timeout=30).status_code == 404


def test_an_adapter_that_vllm_refuses_leaves_the_version_before_in_its_place(
    server: Served, adapter: Path, tmp_path: Path
) -> None:
    asker = Asker(server.base_url, server.folder, 4)
    before, folder = asker.answers("nano-lora"), asker.folder_of("nano-lora")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    # Readable, but its tensor is of no module of nano.
    write_tensor(tmp_path / "adapter_model.safetensors", "base_model.model.model.elsewhere.lora_A.weight", (8, 4))
    done = ner_model(server.folder, "reload", f"nano-lora={tmp_path}", "--port", server.port)
    assert done.returncode == 2 and "nano-lora was not exchanged" in done.stderr and "Traceback" not in done.stderr
    assert asker.answers("nano-lora") == before and asker.folder_of("nano-lora") == folder
    kept = server.folder / f".serve/{server.port}/nano-lora"
    versions = json.loads((server.folder / f".serve/{server.port}.json").read_text())["versions"]["nano-lora"]
    assert versions == [folder] and (kept / Path(folder).name).is_dir()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_after_each_reload_a_server_answers_as_one_that_was_started_with_that_adapter(
    server: Served, adapter: Path
) -> None:
    """Also the base model: on a CPU, vLLM would give it the weights in its last slot."""
    steps = [OTHER, adapter, OTHER]
    asker = Asker(server.base_url, server.folder, 40)
    answers = []
    with asker.load("nano-lora", "nano"):
        for step in steps:
            done = ner_model(server.folder, "reload", f"nano-lora={step}", "--port", server.port)
            assert done.returncode == 0, done.stderr
            answers.append((asker.answers("nano-lora"), asker.answers("nano")))
    for _ in steps:
        assert ner_model(server.folder, "reload", "--rollback", "nano-lora", "--port", server.port).returncode == 0
    port = free_port()
    started = ner_model(server.folder, "serve", f"nano-lora={OTHER}", "--port", port)
    assert started.returncode == 0, started.stderr
    try:
        fresh = Asker(f"http://127.0.0.1:{port}/v1", server.folder, 40)
        expected = (fresh.answers("nano-lora"), fresh.answers("nano"))
    finally:
        ner_model(server.folder, "stop", "--port", port)
    assert answers[0] == expected and answers[2] == expected
    assert answers[1][0] != expected[0] and answers[1][1] == expected[1]
    assert asker.answers("nano-lora") == answers[1][0]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_engines_behind_one_address_answer_as_one_and_are_reloaded_together(server: Served, adapter: Path) -> None:
    """vLLM's data parallelism."""
    port = free_port()
    words = ("--reloadable", "--port", port, "--vllm-args", "--data-parallel-size 2")
    started = ner_model(server.folder, "serve", f"nano-lora={adapter}", *words)
    assert started.returncode == 0, started.stderr
    one, two = Asker(server.base_url, server.folder, 40), Asker(f"http://127.0.0.1:{port}/v1", server.folder, 40)

    def answered() -> dict[str, float]:
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
        found: dict[str, float] = {}
        for engine, count in re.findall(r'^vllm:request_success_total\{.*engine="(\d+)".*\} (\S+)$', metrics, re.M):
            found[engine] = found.get(engine, 0) + float(count)
        return found

    try:
        assert two.answers("nano-lora") == (before := one.answers("nano-lora"))
        first = answered()
        for place in (server.port, port):
            assert ner_model(server.folder, "reload", f"nano-lora={OTHER}", "--port", place).returncode == 0
        assert two.answers("nano-lora") == one.answers("nano-lora") != before
        second = answered()
    finally:
        ner_model(server.folder, "stop", "--port", port)
        ner_model(server.folder, "reload", "--rollback", "nano-lora", "--port", server.port)
    assert first.keys() == second.keys() == {"0", "1"}
    assert all(0 < first[engine] < second[engine] for engine in first)
