"""The structure that the design promises: imports run one way, heavy libraries wait, README and Makefile agree."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from support import ROOT

PACKAGES = {
    "ner_common": "tools",
    "ner_data": "tools",
    "llamafactory_ner": "tools",
    "ner_models": "tools",
    "ner_eval": "eval",
}
MAY_IMPORT = {
    "ner_common": set(),
    "ner_data": {"ner_common"},
    "llamafactory_ner": {"ner_common"},
    "ner_models": {"ner_common", "ner_data", "llamafactory_ner"},
    "ner_eval": {"ner_common", "ner_data"},
}
# Rooms inside a package -> what of their own package they may import; modules on top may import every room.
ROOMS: dict[str, set[str]] = {
    "ner_eval.runs": set(),
    "ner_eval.metrics": {"ner_eval.runs"},
    "ner_eval.inference": {"ner_eval.runs"},
    "ner_eval.reporting": {"ner_eval.metrics"},
    "ner_models.chatglm3": set(),
    "ner_models.nano": set(),
    "ner_models.serving": {"ner_models.base_models"},
    "ner_data.formats": {"ner_data.gold"},
    "ner_data.answers": {"ner_data.gold"},
}
HEAVY = {"torch", "transformers", "peft", "llamafactory", "vllm", "datasets", "pandas", "matplotlib", "modelscope"}
READMES = ["README.md", "README_zh.md"]
INTERNAL = {"need-gpu", "run-demo"}  # steps of train and demo


def modules(package: str) -> list[Path]:
    return sorted((ROOT / PACKAGES[package] / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports anywhere in it, by their full names (a package for what it exports)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, packages: Iterable[str]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_between_packages_run_one_way(package: str) -> None:
    assert modules(package)
    for path in modules(package):
        found = {name.split(".")[0] for name in imported(path)}
        assert found & set(PACKAGES) <= MAY_IMPORT[package] | {package}, path


@pytest.mark.parametrize("room", ROOMS)
def test_imports_between_rooms_run_one_way(room: str) -> None:
    package = room.split(".")[0]
    paths = sorted((ROOT / PACKAGES[package] / room.replace(".", "/")).rglob("*.py"))
    assert paths
    for path in paths:
        own = {name for name in imported(path) if within(name, [package])}
        assert all(within(name, {room, *ROOMS[room]}) for name in own), (path, own)


def test_every_folder_of_ner_eval_is_a_room_with_a_rule() -> None:
    folders = {path.parent.name for path in (ROOT / "eval/ner_eval").glob("*/__init__.py")}
    assert folders == {room.split(".")[1] for room in ROOMS if room.startswith("ner_eval.")}


@pytest.mark.parametrize("package", PACKAGES)
def test_only_the_command_line_knows_the_argument_parser(package: str) -> None:
    """A Namespace goes into `run(args)` of a command, and through what `arguments` makes of it, nowhere else."""
    for path in modules(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and path.name != "arguments.py":
                takes = any("Namespace" in ast.unparse(a.annotation) for a in node.args.args if a.annotation)
                assert not takes or node.name == "run", f"{path}:{node.lineno}: {node.name}"


@pytest.mark.parametrize(
    ("program", "package"), [("ner-data", "ner_data"), ("ner-model", "ner_models"), ("ner-eval", "ner_eval")]
)
def test_help_answers_without_any_heavy_library(program: str, package: str) -> None:
    code = (
        f"import sys, atexit; atexit.register(lambda: print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr))\n"
    )
    code += f"sys.argv = ['{program}', '--help']\nfrom {package}.cli import entry_point\nentry_point()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert f"usage: {program}" in done.stdout
    assert done.stderr.strip() == "[]"


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def make(*arguments: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make as a user does, apart from the `make test` that these tests may run in; ``variables`` as environment."""
    ours = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "GNUMAKEFLAGS", "CORPUS", "MODEL", "METHOD", "ARGS"}
    environment = {name: value for name, value in os.environ.items() if name not in ours} | variables
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=30
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make needs of the repository, without environments, corpora and models."""
    for name in ("Makefile", "pyproject.toml", "requirements", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_help_lists_every_public_target_with_one_line() -> None:
    done = make("help")
    assert done.returncode == 0, done.stderr
    lines = [re.fullmatch(r"  make ([a-z0-9-]+) +(\S.*)", line) for line in done.stdout.splitlines()]
    assert all(lines), done.stdout
    assert sorted(line[1] for line in lines if line) == sorted(targets() - INTERNAL)


# PYTHON=false: should make want to build an environment after all, it fails there and installs nothing.
@pytest.mark.parametrize("arguments", [["train-qwen"], ["train-qwen", "MODEL=qwen2.5-7b"], ["train-chatglm3"]])
def test_a_7b_model_without_a_gpu_is_refused_before_anything_is_built(checkout: Path, arguments: list[str]) -> None:
    before = sorted(checkout.iterdir())
    done = make(*arguments, "ACCELERATOR=cpu", "PYTHON=false", folder=checkout)
    assert done.returncode == 2
    (message,) = [line for line in done.stderr.splitlines() if "***" not in line]  # *** is make's own
    assert "needs a GPU" in message
    assert "`make demo`" in message
    assert done.stdout == ""
    assert sorted(checkout.iterdir()) == before


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
    done = make("-n", "train-chatglm3", "ACCELERATOR=cuda", "PYTHON=false", *arguments, folder=checkout, **variables)
    assert re.findall(r"llamafactory-cli train (\S+)", done.stdout) == [f"recipes/chatglm3-6b/{method}.yaml"]


@pytest.mark.parametrize("name", READMES)
def test_the_readme_names_only_targets_and_paths_that_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z0-9-]*)", text, re.MULTILINE))
    assert named
    assert named <= targets()
    paths = set(re.findall(r"`((?:tools|eval|recipes|tests|requirements|data/corpora)/[\w./-]*)`?", text))
    assert len(paths) > 5
    for path in paths:
        if not re.search(r"[A-Z]{4}", path):  # MODEL, METHOD, NAME stand for something
            assert (ROOT / path).exists(), path


def test_both_readmes_show_the_same_commands() -> None:
    blocks = [
        re.findall(r"```(?:bash|python|json)\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)
        for name in READMES
    ]
    code = [[re.sub(r"#.*", "", block).split() for block in found] for found in blocks]
    assert code[0] == code[1]
    assert len(code[0]) >= 4
