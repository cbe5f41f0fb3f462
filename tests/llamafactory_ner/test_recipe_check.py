"""A recipe and the model.yaml beside it name the same model: after a copy of the folder, one of them is corrected first."""

import re
import shutil
from pathlib import Path

import pytest

from llamafactory_ner.checks.recipe import recipe_problems, template_problem
from support import ROOT

RECIPES = sorted(path for path in (ROOT / "recipes").glob("*/*.yaml") if path.name != "model.yaml")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """recipes/my-model, copied from nano, and weights in models/my-model."""
    shutil.copytree(ROOT / "recipes/nano", tmp_path / "recipes/nano")
    shutil.copytree(ROOT / "recipes/nano", tmp_path / "recipes/my-model")
    (tmp_path / "models/my-model").mkdir(parents=True)
    (tmp_path / "models/my-model/config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return Path("recipes/my-model")


def change(path: Path, name: str, value: str) -> None:
    text = path.read_text("utf-8")
    changed = re.sub(rf"^{name}: \S+", f"{name}: {value}", text, flags=re.MULTILINE)
    assert changed != text
    path.write_text(changed, "utf-8")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: "-".join(path.parts[-2:]))
def test_ours_have_no_problem(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert recipe_problems(path.relative_to(ROOT)) == []


@pytest.mark.parametrize("name", ["lora.yaml", "p_tuning.yaml", "merge.yaml"])
def test_a_plain_copy_is_refused_until_every_line_names_the_new_model(copy: Path, name: str) -> None:
    folder = "adapter_name_or_path" if name == "merge.yaml" else "output_dir"
    (line,) = recipe_problems(copy / name)
    method = "lora" if name == "merge.yaml" else Path(name).stem
    assert line == (
        f"recipes/my-model/{name}: {folder} names the model nano; write saves/my-model/{method}/demo; "
        "recipes/my-model/model.yaml says weights: 'data/nano', but there is a model in models/my-model; "
        "name that, or move it away"
    )
    change(copy / name, folder, f"saves/my-model/{method}/demo")
    (line,) = recipe_problems(copy / name)
    assert "model.yaml says weights: 'data/nano', but there is a model in models/my-model" in line
    change(copy / "model.yaml", "weights", "models/my-model")
    (line,) = recipe_problems(copy / name)
    assert line == (
        f"recipes/my-model/{name}: model_name_or_path is 'data/nano' here and 'models/my-model' in "
        "recipes/my-model/model.yaml; make them the same"
    )
    change(copy / name, "model_name_or_path", "models/my-model")
    assert recipe_problems(copy / name) == []


def test_a_copy_without_weights_of_its_own_is_refused_by_its_output_folder(copy: Path) -> None:
    shutil.rmtree("models")
    (line,) = recipe_problems(copy / "lora.yaml")
    assert "output_dir names the model nano; write saves/my-model/lora/demo" in line


def test_another_template_than_the_model_s_is_refused(copy: Path) -> None:
    change(Path("recipes/nano/model.yaml"), "template", "chatglm3")
    (line,) = recipe_problems(Path("recipes/nano/lora.yaml"))
    assert "template is 'qwen' here and 'chatglm3' in recipes/nano/model.yaml; make them the same" in line


def test_the_template_in_effect_is_that_of_the_model_in_effect(copy: Path) -> None:
    assert template_problem("data/nano", "qwen") is template_problem("data/nano", None) is None
    assert template_problem("models/my-model", "vicuna") is None
    line = template_problem("data/../data/nano/", "vicuna")
    assert line and "'data/../data/nano/' with its own chat template, 'qwen' in recipes/my-model/model.yaml; " in line
    change(copy / "model.yaml", "weights", "models/my-model")
    assert template_problem("models/my-model", "qwen") is None
    assert template_problem(str(Path("models/my-model").absolute()), "vicuna")


def test_a_recipe_without_a_model_file_is_left_to_llamafactory(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("output_dir: saves/nano/lora/demo\n")
    assert recipe_problems(tmp_path / "mine.yaml") == []
