"""`ner-model download`: the hubs' own libraries against our own hub on this machine, a folder, and without a network."""

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chatglm_support import train_tokenizer, write_checkpoint
from hubs import COMMIT, REPOSITORY, WEIGHTS, Hub
from ner_models import download
from ner_models.base_models import load_base_model, model_names
from support import ROOT, Result, one_line_error

Cli = Callable[..., Result]
HUBS = pytest.mark.parametrize("origin", ["modelscope", "huggingface"])


@pytest.fixture
def hubs_at(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make a port of this machine the hub that modelscope and huggingface_hub ask."""

    def point(port: int) -> None:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}/")
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
def hub(hubs_at: Callable[[int], None], recipes: Path) -> Iterator[Hub]:
    """A hub on this machine with a model called qwen2-7b, published under a known checksum."""
    describe(recipes)
    with Hub() as running:
        hubs_at(running.server_port)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def describe(recipes: Path, **changes: Any) -> None:
    """Describe the base model qwen2-7b as the one on our hub."""
    known = {
        "weights": "models/qwen2-7b",
        "needs_gpu": True,
        "template": "qwen",
        "source": REPOSITORY,
        "gigabytes": 0.1,
    }
    known["sha256"] = {"model.safetensors": hashlib.sha256(WEIGHTS).hexdigest()}
    (recipes / "qwen2-7b/model.yaml").write_text(yaml.safe_dump(known | changes))


def refused(done: Result) -> str:
    """The last line of stderr (progress comes first), after making sure that it is our refusal."""
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("ner-model: ")
    return last


def test_too_little_disk_for_a_model_is_said_before_the_download(
    recipes: Path, workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(workplace)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**9))
    assert "qwen2-7b needs 15.3 GB, 1.0 GB are free" in one_line_error(cli("ner-model", "download", "qwen2-7b"))


def test_what_an_interrupted_download_left_needs_no_space_again(
    recipes: Path, workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage, part = shutil.disk_usage(workplace), workplace / "models/qwen2-7b.part"
    for name, size in ((".____temp/model-00004.safetensors", 4e9), (".cache/x.incomplete", 9e9), ("model-00001", 4e9)):
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        with (part / name).open("wb") as file:
            file.truncate(int(size))  # a hole, which takes no space
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**9))
    assert "qwen2-7b needs 7.3 GB more, 1.0 GB are free" in one_line_error(cli("ner-model", "download", "qwen2-7b"))
    # From a folder, all of it is copied.
    message = one_line_error(cli("ner-model", "download", "qwen2-7b", "--from", "recipes"))
    assert "qwen2-7b needs 15.3 GB, 1.0 GB are free" in message
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=9 * 10**9))
    (workplace / "models/qwen2-7b").mkdir()  # the next thing that is looked at
    assert "lacks files of Qwen" in one_line_error(cli("ner-model", "download", "qwen2-7b"))


@HUBS
@pytest.mark.train
def test_without_a_network_download_says_what_to_put_where(
    recipes: Path, cli: Cli, hubs_at: Callable[[int], None], origin: str
) -> None:
    hubs_at(9)  # the port of "discard": nothing listens there
    done = cli("ner-model", "download", "qwen2.5-0.5b", "--from", origin)
    message = refused(done)
    assert "from http://127.0.0.1:9" in done.err.splitlines()[0]
    assert message.startswith("ner-model: Qwen/Qwen2.5-0.5B-Instruct: cannot be downloaded")
    assert message.endswith(
        "put the files of Qwen/Qwen2.5-0.5B-Instruct (config, tokenizer, *.safetensors) into models/qwen2.5-0.5b"
    )


@HUBS
@pytest.mark.train
def test_a_download_names_its_host_and_leaves_only_the_model(workplace: Path, cli: Cli, hub: Hub, origin: str) -> None:
    hub.files |= {"tokenizer.json": b"[]", "code.py": b"raise SystemExit", "pytorch_model.bin": b"pickle"}
    done = cli("ner-model", "download", "qwen2-7b", "--from", origin)
    assert done.code == 0, done.err
    revision = "main" if origin == "huggingface" else "master"
    said = f"{REPOSITORY} ({revision}) from {hub.url}"
    assert done.err.startswith(f"downloading {said}\n")
    assert done.out == f"models/qwen2-7b: {said}, 1 files as published (SHA-256)\n"
    wanted = {"config.json", "model.safetensors", "tokenizer.json"}
    assert {path.name for path in (workplace / "models/qwen2-7b").iterdir()} == wanted
    assert "%" in done.err  # progress


@HUBS
@pytest.mark.train
def test_a_download_that_differs_from_what_was_published_is_not_taken(
    workplace: Path, cli: Cli, hub: Hub, origin: str
) -> None:
    hub.files["model.safetensors"] = b"other"
    message = refused(cli("ner-model", "download", "qwen2-7b", "--from", origin))
    assert message.startswith(
        f"ner-model: models/qwen2-7b.part/model.safetensors: sha256 is {hashlib.sha256(b'other').hexdigest()}"
    )
    assert [path.name for path in (workplace / "models").glob("*/*")] == ["config.json"]
    assert not (workplace / "models/qwen2-7b").exists()

    hub.files["model.safetensors"] = WEIGHTS
    assert cli("ner-model", "download", "qwen2-7b", "--from", origin).code == 0
    assert (workplace / "models/qwen2-7b/model.safetensors").read_bytes() == WEIGHTS
    assert not (workplace / "models/qwen2-7b.part").exists()


@HUBS
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.train
def test_a_file_that_was_damaged_on_its_way_is_not_taken(
    recipes: Path, workplace: Path, cli: Cli, hub: Hub, origin: str, name: str
) -> None:
    describe(recipes, sha256={})  # only what the hub lists is known
    listed = hub.files[name]
    hub.sent[name] = listed[:-1] + b"!"  # of the same length
    message = refused(cli("ner-model", "download", "qwen2-7b", "--from", origin))
    assert name in message
    assert not (workplace / "models/qwen2-7b").exists()

    hub.sent.clear()
    assert cli("ner-model", "download", "qwen2-7b", "--from", origin).code == 0
    assert (workplace / "models/qwen2-7b" / name).read_bytes() == listed


@HUBS
@pytest.mark.train
def test_an_interrupted_download_goes_on_where_it_was(workplace: Path, cli: Cli, hub: Hub, origin: str) -> None:
    hub.interrupt = True
    assert cli("ner-model", "download", "qwen2-7b", "--from", origin).code == 130
    assert not (workplace / "models/qwen2-7b").exists()

    hub.interrupt = False
    del hub.asked[:]
    assert cli("ner-model", "download", "qwen2-7b", "--from", origin).code == 0
    # huggingface_hub starts a file of its own in every run; complete files are kept.
    assert "config.json" not in dict(hub.asked)
    (start,) = [start for name, start in hub.asked if name == "model.safetensors"]
    assert origin == "huggingface" or (start and 0 < int(start[6:-1]) < len(WEIGHTS))
    assert (workplace / "models/qwen2-7b/model.safetensors").read_bytes() == WEIGHTS
    assert len(list((workplace / "models/qwen2-7b").iterdir())) == 2


@HUBS
@pytest.mark.train
def test_a_connection_that_breaks_is_resumed(workplace: Path, cli: Cli, hub: Hub, origin: str) -> None:
    hub.breaks = 1
    assert cli("ner-model", "download", "qwen2-7b", "--from", origin).code == 0
    _, again = [start for name, start in hub.asked if name == "model.safetensors"]
    assert again and int(again[6:-1]) > 0
    assert (workplace / "models/qwen2-7b/model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.train
def test_what_one_hub_has_begun_another_completes(workplace: Path, cli: Cli, hub: Hub) -> None:
    hub.sent["config.json"] = b"[]"
    refused(cli("ner-model", "download", "qwen2-7b"))
    hub.sent.clear()
    del hub.asked[:]
    assert cli("ner-model", "download", "qwen2-7b", "--from", "huggingface").code == 0
    assert "model.safetensors" not in dict(hub.asked)  # complete already
    wanted = {"config.json", "model.safetensors"}
    assert {path.name for path in (workplace / "models/qwen2-7b").iterdir()} == wanted


@HUBS
@pytest.mark.train
def test_a_repository_that_does_not_exist_is_named(
    recipes: Path, workplace: Path, cli: Cli, hub: Hub, origin: str
) -> None:
    describe(recipes, source="Qwen/Y")
    message = refused(cli("ner-model", "download", "qwen2-7b", "--from", origin))
    assert message.startswith("ner-model: Qwen/Y: cannot be downloaded")
    assert "404" in message
    assert not list((workplace / "models").glob("*/*"))


@HUBS
@pytest.mark.parametrize("name", ["../evil.json", "/evil.json", "a/../../evil.json", "evil\x1b[2J.json"])
@pytest.mark.train
def test_a_hub_that_lists_an_unsafe_name_gets_nothing_written(
    workplace: Path, cli: Cli, hub: Hub, origin: str, name: str
) -> None:
    hub.files[name] = b"{}"
    message = refused(cli("ner-model", "download", "qwen2-7b", "--from", origin))
    assert "which is no safe name" in message
    assert not list((workplace / "models").rglob("*"))


@pytest.mark.train
def test_hugging_face_is_asked_for_its_own_name_and_commit(recipes: Path, cli: Cli, hub: Hub) -> None:
    describe(recipes, source="Elsewhere/Z", huggingface=f"{REPOSITORY}@{COMMIT}")
    done = cli("ner-model", "download", "qwen2-7b", "--from", "huggingface")
    assert (done.code, f"{REPOSITORY} ({COMMIT[:12]}) from {hub.url}" in done.out) == (0, True), done.err
    describe(recipes, huggingface=f"{REPOSITORY}@{'d' * 40}")
    shutil.rmtree("models")
    assert "404" in refused(cli("ner-model", "download", "qwen2-7b", "--from", "huggingface"))


def test_every_model_names_a_commit_of_hugging_face() -> None:
    models = [load_base_model(name) for name in model_names() if load_base_model(name).source]
    assert models
    assert all(len(model.on_huggingface[1]) == 40 for model in models)


@pytest.fixture
def folder(recipes: Path, workplace: Path) -> Path:
    """A folder with the files of the model called qwen2-7b."""
    describe(recipes)
    given = workplace / "given"
    given.mkdir()
    (given / "config.json").write_text("{}")
    (given / "model.safetensors").write_bytes(WEIGHTS)
    (given / "pytorch_model.bin").touch()
    return given


def test_a_folder_is_a_source_too(workplace: Path, cli: Cli, folder: Path) -> None:
    done = cli("ner-model", "download", "qwen2-7b", "--from", folder)
    assert (done.code, done.out) == (0, "models/qwen2-7b: copied from given, 1 files as published (SHA-256)\n")
    wanted = {"config.json", "model.safetensors"}
    assert {path.name for path in (workplace / "models/qwen2-7b").iterdir()} == wanted
    assert (workplace / "models/qwen2-7b/model.safetensors").read_bytes() == WEIGHTS
    assert "%" in done.err


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(workplace: Path, cli: Cli, folder: Path, name: str) -> None:
    (folder / name).unlink()
    said = f"ner-model: given: {name} is missing; add it, or name another folder"
    assert refused(cli("ner-model", "download", "qwen2-7b", "--from", "given")) == said
    assert not list((workplace / "models").iterdir())


def test_a_folder_with_other_weights_is_refused(workplace: Path, cli: Cli, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"other")
    message = refused(cli("ner-model", "download", "qwen2-7b", "--from", "given"))
    assert message.startswith("ner-model: given/model.safetensors: sha256 is ")
    assert message.endswith("nothing was copied: replace the file")
    assert not list((workplace / "models").iterdir())


def test_a_folder_whose_index_leads_out_of_it_is_refused(workplace: Path, cli: Cli, folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../secret.safetensors"}}')
    assert "not an index of weight files" in refused(cli("ner-model", "download", "qwen2-7b", "--from", "given"))
    assert not list((workplace / "models").iterdir())


def test_a_source_that_is_neither_hub_nor_folder_is_refused(recipes: Path, workplace: Path, cli: Cli) -> None:
    message = one_line_error(cli("ner-model", "download", "qwen2-7b", "--from", "hugingface"))
    assert "--from 'hugingface': not one of modelscope, huggingface, and no folder; correct it" in message
    assert not (workplace / "models").exists()


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
