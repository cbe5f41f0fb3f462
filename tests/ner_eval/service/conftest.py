"""Services in front of an engine whose faults a test chooses."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from api_process import Api
from faulty import Faulty
from ner_data.prompt import FILE_NAME, PromptSpec, instruction

LABELS = ("name", "company", "position")


@pytest.fixture(scope="session")
def adapter_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder, with a prompt spec and nothing else."""
    asked = instruction([(label, label) for label in LABELS], "json_list")
    spec = PromptSpec("demo", "系统。", asked, LABELS, "json_list", 64, longest_text=60)
    folder = tmp_path_factory.mktemp("adapter")
    spec.save(folder / FILE_NAME)
    return folder


@pytest.fixture(scope="module")
def engine() -> Iterator[Faulty]:
    """An engine that serves two models; each test chooses its faults by ``script``."""
    with Faulty(models=("nano", "other")) as server:
        yield server


@pytest.fixture
def start_api(engine: Faulty, adapter_folder: Path) -> Iterator[Callable[..., Api]]:
    """Start services that end with the test."""
    with ExitStack() as stack:

        def start(*arguments: object, model: str = "nano", base_url: str = "", **environment: str) -> Api:
            words = ["--model", f"{model}={adapter_folder}", "--base-url", base_url or engine.base_url]
            return stack.enter_context(Api(*words, *arguments, **environment))

        yield start


@pytest.fixture(scope="module")
def shared_api(engine: Faulty, adapter_folder: Path) -> Iterator[Api]:
    """One service for tests that need no options of their own; small limits, a short patience."""
    words = [part for name in ("nano", "other") for part in ("--model", f"{name}={adapter_folder}")]
    limits = ["--most-bytes", 20_000, "--most-texts", 50, "--deadline", 10, "--patience", 2, "--timeout", 5]
    with Api(*words, "--base-url", engine.base_url, *limits) as api:
        yield api


@pytest.fixture
def api(shared_api: Api, engine: Faulty) -> Iterator[Api]:
    engine.script = None
    engine.asked.clear()
    yield shared_api
    engine.script = None
