"""Fixtures for all tests, and the rule for skips: only if there is no GPU or if the real corpora are missing."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from make_support import link
from support import ROOT, SHARED, Result, Served, free_port, tool, train

ALLOWED_SKIPS = ("needs a GPU", "absent:")

# A test run started in the background ignores SIGINT, and its children would ignore Ctrl-C too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run one of our programs in this process: ``cli("ner-data", "convert", "demo")``."""

    def run(program: str, *args: object) -> Result:
        from importlib import import_module

        package = {"ner-data": "ner_data", "ner-model": "ner_models", "ner-eval": "ner_eval"}[program]
        monkeypatch.setattr(sys, "argv", [program, *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            import_module(f"{package}.cli").entry_point()
        captured = capsys.readouterr()
        return Result(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh current folder with the corpus descriptions; whatever is written there belongs to the test."""
    shutil.copytree(ROOT / "data/corpora", tmp_path / "data/corpora")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The parts of the repository that make needs, without environments, corpora and models."""
    link(tmp_path, "Makefile", "pyproject.toml", "requirements")
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    return tmp_path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real corpora, which are not part of the repository."""
    if not (SHARED / "data/cluener/train.json").is_file():
        pytest.skip("absent: the real corpora in ../shared/data")
    return SHARED


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo corpus already built; recipes and nano are links into the repository."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "data").mkdir()
    for name in ("recipes", "data/nano", "data/corpora"):
        (folder / name).symlink_to(ROOT / name)
    for command in ("fetch", "convert", "alpaca"):
        subprocess.run([tool(".venv", "ner-data"), command, "demo"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="session")
def adapter(chain: Path) -> Path:
    """A LoRA adapter of nano over demo, trained by llamafactory-cli for a few steps, with its prompt spec."""
    kept = ROOT / "cache/tests/nano-lora"
    # The train environment's tests run first and train; the serve environment's tests reuse their adapter.
    if not (ROOT / ".venv-serve").samefile(sys.prefix) or not (kept / "adapter_model.safetensors").is_file():
        shutil.rmtree(kept, ignore_errors=True)
        train(chain, kept, "max_steps=40", "eval_strategy=steps", "eval_steps=20", "save_steps=20", "logging_steps=5")
    return kept


@pytest.fixture(scope="session")
def server(chain: Path, adapter: Path) -> Iterator[Served]:
    """One real vLLM server for the whole run: nano and its LoRA adapter, which `ner-model reload` may exchange."""
    port = free_port()
    program = tool(".venv-serve", "ner-model")
    try:
        words = [f"nano-lora={adapter}", "--port", str(port), "--reloadable"]
        subprocess.run([program, "serve", *words], cwd=chain, check=True)
        yield Served(f"http://127.0.0.1:{port}/v1", ["nano", "nano-lora"], port, chain)
    finally:
        subprocess.run([program, "stop", "--port", str(port)], cwd=chain, check=True)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """In the train and serve environments, import only files with tests for them: libraries are missing there."""
    wanted = str(config.option.markexpr).split(" ", 1)[0]
    if wanted not in ("train", "serve") or not collection_path.name.startswith("test_"):
        return None
    return True if f"mark.{wanted}" not in collection_path.read_text(encoding="utf-8") else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the skips; `pytest_sessionfinish` turns any that are not allowed into a failure."""
    skipped = terminalreporter.stats.get("skipped", [])
    for report in skipped:
        terminalreporter.write_line(f"skipped: {report.nodeid}: {_reason(report)}")
    if bad := [report for report in skipped if not _allowed(report)]:
        terminalreporter.write_line(
            f"{len(bad)} skips name neither a GPU nor an absent corpus: counted as failures", red=True
        )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == 0 and any(not _allowed(report) for report in reporter.stats.get("skipped", [])):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reason(report: Any) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return str(text).removeprefix("Skipped: ")


def _allowed(report: Any) -> bool:
    return _reason(report).startswith(ALLOWED_SKIPS)
