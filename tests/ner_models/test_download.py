"""`ner-model download`: the real modelscope against our own hub on this machine, and without a network."""

import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from chatglm_support import train_tokenizer, write_checkpoint
from ner_models import download
from support import ROOT, Result, one_line_error

Cli = Callable[..., Result]

WEIGHTS = bytes(range(256)) * 8192  # 2 MiB: modelscope writes to the disk by the MiB


class Hub(ThreadingHTTPServer):
    """ModelScope's two calls for a download: the list of a repository's files, and a file from a given byte on."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files = {"config.json": b"{}", "model.safetensors": WEIGHTS}
        self.interrupt = False  # press Ctrl-C once three quarters of the weights are sent, and send no more
        self.asked: list[tuple[str, str | None]] = []  # file, Range header


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "FilePath" not in query:
            listed = [
                {"Path": name, "Type": "blob", "Size": len(data), "Sha256": hashlib.sha256(data).hexdigest()}
                for name, data in self.server.files.items()
            ]
            return self.answer(json.dumps({"Code": 200, "Success": True, "Data": {"Files": listed}}).encode())
        (name,) = query["FilePath"]
        asked = self.headers["Range"]
        self.server.asked.append((name, asked))
        return self.answer(self.server.files[name], int(asked[6:-1]) if asked else 0, name.endswith("safetensors"))

    def answer(self, data: bytes, start: int = 0, weights: bool = False) -> None:
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if weights and self.server.interrupt:
            self.wfile.write(data[: len(data) * 3 // 4])
            self.wfile.flush()
            end = time.monotonic() + 30
            while time.monotonic() < end and not any(
                path.stat().st_size for path in Path("models").rglob("*.safetens*")
            ):
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)
        else:
            self.wfile.write(data[start:])

    def log_message(self, *args: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def modelscope_at(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make a port of this machine the hub that modelscope asks."""

    def point(port: int) -> None:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("MODELSCOPE_CACHE", str(workplace / "modelscope"))
        monkeypatch.setenv("MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS", "2")  # saves seconds if it is read in time
        from modelscope_hub import set_default_config

        set_default_config(None)  # modelscope keeps the environment's endpoint from its first use

    return point


@pytest.fixture
def recipes(workplace: Path) -> Path:
    """The repository's recipes, with the base models that they describe, for the test to change."""
    shutil.copytree(ROOT / "recipes", workplace / "recipes")
    return workplace / "recipes"


@pytest.fixture
def hub(modelscope_at: Callable[[int], None], recipes: Path) -> Iterator[Hub]:
    """A hub on this machine with a model called qwen2-7b, published under a known checksum."""
    known = {"weights": "models/qwen2-7b", "needs_gpu": True, "template": "qwen", "source": "Qwen/X", "gigabytes": 0.1}
    known["sha256"] = {"model.safetensors": hashlib.sha256(WEIGHTS).hexdigest()}
    (recipes / "qwen2-7b/model.yaml").write_text(yaml.safe_dump(known))
    with Hub() as running:
        modelscope_at(running.server_port)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_too_little_disk_for_a_model_is_said_before_the_download(
    recipes: Path, workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(workplace)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**9))
    assert "qwen2-7b needs 15.3 GB, 1.0 GB are free" in one_line_error(cli("ner-model", "download", "qwen2-7b"))


@pytest.mark.train
def test_without_a_network_download_says_what_to_put_where(
    recipes: Path, cli: Cli, modelscope_at: Callable[[int], None]
) -> None:
    modelscope_at(9)  # the port of "discard": nothing listens there
    message = one_line_error(cli("ner-model", "download", "qwen2.5-0.5b"))
    assert message.startswith("ner-model: Qwen/Qwen2.5-0.5B-Instruct: cannot be downloaded")
    assert message.endswith(
        "put the files of Qwen/Qwen2.5-0.5B-Instruct (config, tokenizer, *.safetensors) into models/qwen2.5-0.5b"
    )


@pytest.mark.train
def test_a_download_that_differs_from_what_was_published_is_not_taken(workplace: Path, cli: Cli, hub: Hub) -> None:
    hub.files["model.safetensors"] = b"other"
    message = cli("ner-model", "download", "qwen2-7b")
    assert message.code == 2
    last = message.err.strip().splitlines()[-1]
    assert last.startswith(
        f"ner-model: models/qwen2-7b.part/model.safetensors: sha256 is {hashlib.sha256(b'other').hexdigest()}"
    )
    assert [path.name for path in (workplace / "models").glob("*/*")] == ["config.json"]
    assert not (workplace / "models/qwen2-7b").exists()

    hub.files["model.safetensors"] = WEIGHTS
    assert cli("ner-model", "download", "qwen2-7b").code == 0
    assert (workplace / "models/qwen2-7b/model.safetensors").read_bytes() == WEIGHTS
    assert not (workplace / "models/qwen2-7b.part").exists()


@pytest.mark.train
def test_an_interrupted_download_goes_on_where_it_was(workplace: Path, cli: Cli, hub: Hub) -> None:
    hub.interrupt = True
    assert cli("ner-model", "download", "qwen2-7b").code == 130
    assert not (workplace / "models/qwen2-7b").exists()

    hub.interrupt = False
    del hub.asked[:]
    assert cli("ner-model", "download", "qwen2-7b").code == 0
    (start,) = [start for name, start in hub.asked if name == "model.safetensors"]
    assert start and 0 < int(start[6:-1]) < len(WEIGHTS)
    assert (workplace / "models/qwen2-7b/model.safetensors").read_bytes() == WEIGHTS


def test_a_model_is_complete_only_with_every_file_of_its_index(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert not download.is_complete(tmp_path)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model-1.safetensors").touch()
    assert not download.is_complete(tmp_path)
    (tmp_path / "model-2.safetensors").touch()
    assert download.is_complete(tmp_path)


def test_a_model_without_a_source_must_be_there(recipes: Path, workplace: Path, cli: Cli) -> None:
    message = one_line_error(cli("ner-model", "download", "nano"))
    assert "data/nano: no model there; put its files there, or add source to recipes/nano/model.yaml" in message
    (workplace / "data/nano").symlink_to(ROOT / "data/nano")
    assert cli("ner-model", "download", "nano") == (0, "data/nano: already here\n", "")
    assert not (workplace / "models").exists()


def test_a_model_that_is_there_is_left_alone(recipes: Path, workplace: Path, cli: Cli) -> None:
    folder = workplace / "models/qwen2-7b"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert "lacks files of Qwen/Qwen2-7B-Instruct" in one_line_error(cli("ner-model", "download", "qwen2-7b"))
    (folder / "model.safetensors").touch()
    assert cli("ner-model", "download", "qwen2-7b") == (0, "models/qwen2-7b: already here\n", "")


def test_an_unknown_model_is_refused_with_those_that_exist(recipes: Path, cli: Cli) -> None:
    message = one_line_error(cli("ner-model", "download", "qwen9"))
    assert "recipes/qwen9/model.yaml: no such base model; known: chatglm3-6b, glm-4-9b, nano, " in message


def test_an_unknown_step_after_the_download_is_refused_before_it(recipes: Path, workplace: Path, cli: Cli) -> None:
    with (recipes / "qwen2-7b/model.yaml").open("a") as file:
        file.write("after_download: unpack\n")
    message = one_line_error(cli("ner-model", "download", "qwen2-7b"))
    assert "recipes/qwen2-7b/model.yaml: after_download: unpack is not one of convert-chatglm3; correct it" in message
    assert not (workplace / "models").exists()


@pytest.mark.train
def test_a_download_that_must_be_converted_is_converted_once(recipes: Path, workplace: Path, cli: Cli) -> None:
    write_checkpoint(workplace / "models/chatglm3-6b", train_tokenizer(workplace / "tiny"))
    done = cli("ner-model", "download", "chatglm3-6b")
    assert done.code == 0, done.err
    first, second, *_ = done.out.splitlines()
    assert first == "models/chatglm3-6b: already here"
    assert second.startswith("models/chatglm3-6b-glm: chatglm3 as glm, 3 layers")
    assert (workplace / "models/chatglm3-6b-glm/config.json").is_file()
    assert cli("ner-model", "download", "chatglm3-6b").out == f"{first}\n"
