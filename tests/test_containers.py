"""The images: what is in them, training in one, and the chain of serving and evaluating in the others."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from containers import Builder
from support import ROOT, Result, free_port, one_line_error

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600)]
MB = 1_000_000


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    builder = Builder(tmp_path_factory.mktemp("containers"))
    builder.make_base()
    yield builder
    builder.remove_everything()


@pytest.fixture(scope="module")
def eval_image(builder: Builder) -> str:
    return builder.build("eval")


@pytest.fixture(scope="module")
def serve_image(builder: Builder) -> str:
    return builder.build("serve")


@pytest.fixture(scope="module")
def volumes(chain: Path) -> list[str]:
    """Mounts of what a repository holds in which nano was trained on demo, for a few steps.

    Not of /app/runs: buildah, unlike Docker, prefers the volume that the image declares.
    """
    places = {
        "/app/data/gold": chain / "data/gold",
        "/app/data/corpora": ROOT / "data/corpora",
        "/app/data/nano": ROOT / "data/nano",
        "/app/saves/nano/lora/demo": ROOT / "tests/previous/lora",
    }
    return [word for there, here in places.items() for word in ("-v", f"{here}:{there}")]


def test_the_eval_image_is_small_and_holds_nothing_of_ours_but_programs(builder: Builder, eval_image: str) -> None:
    container = builder.said("from", eval_image)
    root = Path(builder.said("mount", container))
    size = int(subprocess.check_output(["du", "-sxB1", root], text=True).split()[0])
    print(f"eval image: {size / MB:.0f} MB")
    assert size < 500 * MB
    assert {path.name for path in (root / "app").iterdir()} == {
        *(".venv", "recipes"),
        *("cache", "data", "models", "runs", "saves", ".serve"),
    }
    assert not [
        path for path in (root / "app").rglob("*") if path.name in (".git", "tests", "install.log") and path.is_dir()
    ]
    assert not any(
        any((root / "app" / name).iterdir()) for name in ("cache", "data", "models", "runs", "saves", ".serve")
    )
    config = builder.config(eval_image)
    assert config["User"] == "10001:10001"
    assert set(config["Volumes"]) == {f"/app/{name}" for name in ("models", "data", "saves", "runs")}
    assert builder.said("run", container, "--", "id", "-u") == "10001"
    assert "predict" in builder.said("run", container, "--", *config["Cmd"])


def test_a_serving_container_without_a_model_volume_says_what_to_mount(builder: Builder, serve_image: str) -> None:
    container = builder.said("from", serve_image)
    done = builder("run", container, "--", *builder.config(serve_image)["Entrypoint"], "saves/nano/lora/demo")
    own = ("exit status", "exited with status")  # buildah's words, of two versions
    lines = [line for line in done.stderr.splitlines() if not any(words in line for words in own)]
    message = one_line_error(Result(done.returncode, done.stdout, "\n".join(lines)))
    assert message.startswith("/app/models: empty") and "-v ./models:/app/models:ro" in message


def test_one_container_serves_and_another_evaluates(
    builder: Builder, serve_image: str, eval_image: str, volumes: list[str]
) -> None:
    config, port = builder.config(serve_image), free_port()
    assert config["User"] == "10001:10001"
    serving, asking = builder.said("from", serve_image), builder.said("from", eval_image)
    entry = [*config["Entrypoint"], "saves/nano/lora/demo", "--port", str(port)]
    command = builder.command("run", *volumes, serving, "--", *entry)
    with subprocess.Popen(command, env=os.environ | {"BUILDAH_ISOLATION": "chroot"}) as server:
        try:
            while not healthy(port):
                assert server.poll() is None
                time.sleep(1)
            test = [word.replace(":8000/", f":{port}/") for word in config["Healthcheck"]["Test"][1:]]
            builder.said("run", serving, "--", *test)
            assert builder("run", serving, "--", *(word.replace(f":{port}/", ":9/") for word in test)).returncode

            service = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["eval"]
            words = [
                word.replace("$$", "$").replace("http://serve:8000", f"http://127.0.0.1:{port}")
                for word in service["command"]
            ]
            variables = {
                "MODEL": "nano-lora-demo",
                "ADAPTER": "saves/nano/lora/demo",
                "CORPUS": "demo",
                "SPLIT": "test",
            }
            set_ = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
            table = builder.said("run", *volumes, *set_, asking, "--", *words, timeout=1800)
            assert "Micro Avg." in table and "answers: 200; unparsable" in table
        finally:
            builder("run", *volumes, serving, "--", "ner-model", "stop", "--port", port)
            code = server.wait(120)
    assert code == 0


def test_a_training_container_leaves_an_adapter_with_its_prompt(builder: Builder, chain: Path, tmp_path: Path) -> None:
    image = builder.build("train")
    config, container = builder.config(image), builder.said("from", image)
    assert config["User"] == "10001:10001"
    assert "LLaMA Factory" in builder.said("run", container, "--", *config["Cmd"])
    tmp_path.chmod(0o777)  # the container's user is nobody's here
    places = {"/app/data/alpaca": chain / "data/alpaca", "/app/data/nano": ROOT / "data/nano"}
    places["/app/saves/nano/lora/demo"] = tmp_path
    mounts = [word for there, here in places.items() for word in ("-v", f"{here}:{there}")]
    command = ["llamafactory-cli", "train", "recipes/nano/lora.yaml", "max_steps=2", "preprocessing_num_workers=1"]
    builder.said("run", *mounts, container, "--", *command, timeout=1800)
    assert (tmp_path / "ner_prompt.json").is_file()
    assert (tmp_path / "adapter_model.safetensors").stat().st_mode & 0o777 == 0o644  # for servers of other users


def healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
