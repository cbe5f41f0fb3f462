"""The structure that the design promises: imports run one way, heavy libraries wait, README and Makefile agree."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from make_support import targets
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
