"""The Makefile: what it lists, what it refuses before anything is built, and which commands it runs."""

import re
import shutil
from pathlib import Path

import pytest

from make_support import link, make, targets
from ner_models.base_models import load_base_model
from support import ROOT

INTERNAL = {"known-model", "known-recipe", "known-merge", "need-gpu", "run-demo"}  # steps of other targets
MODELS = sorted(path.parent.name for path in (ROOT / "recipes").glob("*/model.yaml"))
# If make tries to build an environment after all, it fails there and installs nothing.
NO_BUILD = "PYTHON=false"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The parts of the repository that make needs, without environments, corpora and models."""
    link(tmp_path, "Makefile", "pyproject.toml", "requirements")
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    return tmp_path


def test_help_lists_every_public_target_with_one_line() -> None:
    done = make("help")
    assert done.returncode == 0, done.stderr
    described = re.findall(r"^  make ([a-z0-9-]+) +\S.*$", done.stdout, re.MULTILINE)
    assert sorted(described) == sorted(targets() - INTERNAL)
    assert len(done.stdout.splitlines()) == len(described) + len(MODELS)


def test_help_lists_the_base_models_with_their_methods() -> None:
    listed = dict(re.findall(r"^  MODEL=(\S+) +METHOD=(.*)$", make("help").stdout, re.MULTILINE))
    assert sorted(listed) == MODELS
    for model, methods in listed.items():
        recipes = {path.stem for path in (ROOT / "recipes" / model).glob("*.yaml")}
        assert set(methods.split()) == recipes - {"model", "merge"}


@pytest.mark.parametrize("arguments", [["train-qwen"], ["train-qwen", "MODEL=qwen2.5-7b"], ["train-chatglm3"]])
def test_a_7b_model_without_a_gpu_is_refused_before_anything_is_built(checkout: Path, arguments: list[str]) -> None:
    message = refused(checkout, *arguments, "ACCELERATOR=cpu")
    assert "needs a GPU" in message
    assert "`make demo`" in message


def refused(checkout: Path, *arguments: str) -> str:
    """The one line that make prints when it refuses, having built nothing."""
    before = sorted(checkout.iterdir())
    done = make(*arguments, NO_BUILD, folder=checkout)
    assert done.returncode == 2
    (message,) = [line for line in done.stderr.splitlines() if "***" not in line]  # *** is make's own
    assert done.stdout == ""
    assert sorted(checkout.iterdir()) == before
    return message


@pytest.mark.parametrize("target", ["download", "train", "train-qwen", "preview", "merge"])
def test_a_model_without_a_folder_is_refused_with_those_that_exist(checkout: Path, target: str) -> None:
    message = refused(checkout, target, "MODEL=qwen9")
    assert message == f"MODEL=qwen9: no recipes/qwen9/model.yaml; known: {' '.join(MODELS)}"


@pytest.mark.parametrize("method", ["adalora", "model", "merge"])
@pytest.mark.parametrize("target", ["train", "preview"])
def test_a_method_without_a_recipe_is_refused_with_those_that_exist(checkout: Path, target: str, method: str) -> None:
    message = refused(checkout, target, "MODEL=nano", f"METHOD={method}")
    assert message.startswith(f"METHOD={method}: not a recipe in recipes/nano; known: lora ")


def test_a_model_without_a_merge_recipe_is_refused(checkout: Path) -> None:
    (checkout / "recipes/nano/merge.yaml").unlink()
    assert refused(checkout, "merge", "MODEL=nano").startswith("recipes/nano/merge.yaml: no such file; copy it")


@pytest.mark.parametrize("line", ["weights:", "needs_gpu:", "needs_gpu: maybe"])
def test_a_model_file_that_make_cannot_read_is_refused(checkout: Path, line: str) -> None:
    path = checkout / "recipes/nano/model.yaml"
    path.write_text(re.sub(f"^{line.split()[0]}.*$", line, path.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert refused(checkout, "train", "MODEL=nano").startswith("recipes/nano/model.yaml: needs the lines `weights: ")


@pytest.mark.parametrize("model", MODELS)
def test_make_reads_what_the_programs_read(model: str, checkout: Path) -> None:
    known = load_base_model(model)
    done = make("-n", "train", f"MODEL={model}", "ACCELERATOR=cuda", NO_BUILD, folder=checkout)
    assert f"llamafactory-cli train recipes/{model}/lora.yaml model_name_or_path={known.weights} " in done.stdout
    code = make("need-gpu", f"MODEL={model}", "ACCELERATOR=cpu", folder=checkout).returncode
    assert code == (2 if known.needs_gpu else 0)


@pytest.mark.parametrize(
    ("model", "accelerator"), [("nano", "cpu"), ("qwen2.5-0.5b", "cpu"), ("qwen2-7b", "cuda"), ("chatglm3-6b", "cuda")]
)
def test_a_small_model_or_a_gpu_is_not_refused(checkout: Path, model: str, accelerator: str) -> None:
    done = make("need-gpu", f"MODEL={model}", f"ACCELERATOR={accelerator}", folder=checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "variables", "method"),
    [
        ([], {}, "prefix_tuning"),
        (["METHOD=lora"], {}, "lora"),
        ([], {"METHOD": "p_tuning"}, "p_tuning"),
        (["METHOD=lora"], {"METHOD": "p_tuning"}, "lora"),
    ],
)
def test_train_chatglm3_takes_the_method_it_is_given(
    checkout: Path, arguments: list[str], variables: dict[str, str], method: str
) -> None:
    # -n goes through to the make inside, which then prints what it would run.
    done = make("-n", "train-chatglm3", "ACCELERATOR=cuda", NO_BUILD, *arguments, folder=checkout, **variables)
    assert re.findall(r"llamafactory-cli train (\S+)", done.stdout) == [f"recipes/chatglm3-6b/{method}.yaml"]
