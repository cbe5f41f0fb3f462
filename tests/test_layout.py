"""The structure that the design promises: imports run one way, heavy libraries are imported late."""

import ast
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
# Room -> what it may import from its own package; top-level modules may import every room.
ROOMS: dict[str, set[str]] = {
    "ner_eval.confidence": set(),
    "ner_eval.runs": set(),
    "ner_eval.metrics": {"ner_eval.runs", "ner_eval.confidence"},
    "ner_eval.inference": {"ner_eval.runs", "ner_eval.confidence"},
    "ner_eval.checkpoints": {"ner_eval.metrics"},
    "ner_eval.reporting": {"ner_eval.metrics", "ner_eval.checkpoints", "ner_eval.confidence"},
    "ner_eval.service": {"ner_eval.inference", "ner_eval.confidence"},
    "ner_models.chatglm3": set(),
    "ner_models.nano": set(),
    "ner_models.peft_training": set(),
    "ner_models.planning": {
        "ner_models.base_models",
        "ner_models.peft_training.recipe",
        "ner_models.serving.command",
    },
    "ner_models.serving": {"ner_models.base_models", "ner_models.schemes"},
    "ner_data.formats": {
        "ner_data.alignment",
        "ner_data.answers",
        "ner_data.described",
        "ner_data.gold",
        "ner_data.prompt",
        "ner_data.source",
    },
    "ner_data.answers": {"ner_data.gold", "ner_data.alignment"},
}
HEAVY = {"torch", "transformers", "peft", "llamafactory", "vllm", "datasets", "pandas", "matplotlib"}
HEAVY |= {"modelscope", "huggingface_hub", "llmcompressor", "sklearn"}
HEAVY |= {"fastapi", "uvicorn", "prometheus_client"}


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
    """Only a command's `run(args)` and the functions of `arguments` take a Namespace."""
    for path in modules(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not path.name.endswith("arguments.py"):
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


# Words that read as translated (say: again, duplicate, fix, side by side, per) and issue numbers. The brackets keep
# the pattern from finding itself.
UNWANTED = re.compile(
    r"\b(ane[w]|men(d|ds|ded)|ai[l]s?|stands twic[e]|beside each othe[r]|one target a stag[e]|none of this ru[n])\b"
    r"|\bissues? [0-9]+",
    re.IGNORECASE,
)


def test_texts_are_in_plain_english_and_name_no_issue_numbers() -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    read = 0
    for name in files.split("\0"):
        if Path(name).suffix in {".py", ".md", ".yaml", ".toml", ".js", ".css", ".html"} or name in (
            "Makefile",
            "tests/run",
        ):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not (found := UNWANTED.search(text)), f"{name}: {found[0]}"
            read += 1
    assert read > 150
