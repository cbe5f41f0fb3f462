"""The structure that the design promises: imports run one way, heavy libraries wait, README and Makefile agree."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import ROOT

PACKAGES = {"ner_data": "tools", "llamafactory_ner": "tools", "ner_models": "tools", "ner_eval": "eval"}
MAY_IMPORT = {"ner_data": set(), "llamafactory_ner": set(), "ner_models": {"ner_data"}, "ner_eval": {"ner_data"}}
HEAVY = {"torch", "transformers", "peft", "llamafactory", "vllm", "datasets", "pandas", "matplotlib", "modelscope"}
READMES = ["README.md", "README_zh.md"]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / PACKAGES[package] / package).rglob("*.py"))


def imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    assert modules(package)
    for path in modules(package):
        found = set(imported(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
        assert found & set(PACKAGES) <= MAY_IMPORT[package] | {package}, path


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


def test_every_target_of_the_help_has_its_line() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    assert (
        {"data", "train-qwen", "train-chatglm3", "serve", "stop", "eval", "demo", "test", "test-all"}
        <= listed
        <= targets()
    )


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
