"""Recipes, registries, prompt specs and training records that were damaged or made up: one line, or no problem at all."""

import copy
import io
import json
import random
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
import yaml

from llamafactory_ner.checks.arguments import argument_problems, base_folder_problem
from llamafactory_ner.checks.datasets import dataset_problems
from llamafactory_ner.checks.recipe import recipe_problems, template_problem
from llamafactory_ner.checks.refusal import stop, user_errors_in_one_line
from llamafactory_ner.prompts import Prompt, spec_beside, store_prompt, stored_prompt
from ner_common.errors import UserError, printable
from ner_common.training_record import read_training_record, write_training_record
from ner_data.prompt import PromptSpec
from support import ROOT

SPEC = ROOT / "tests/previous/lora/ner_prompt.json"
RECIPES = sorted((ROOT / "recipes").glob("*/*.yaml"))
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**70, 1e308, float("inf"), float("nan"), "", " ", "x", "0", "1", "true", "false"),
    *(
        "\x1b[31m",
        "\ud800",
        "a\nb",
        "a\0b",
        "../..",
        "/",
        "saves/nano/lora/x",
        "²",
        "１２",
        "中文",
        "x" * 5000,
        "{",
        '{"',
    ),
    *('{"zero_optimization": 3}', '{"zero_optimization": {"stage": "3"}}', '{"zero_optimization": {"stage": [3]}}'),
    *([], [None], ["x"], [[]], {}, {"x": 1}, {"zero_optimization": {"stage": 3}}, {"zero_optimization": None}, {1: 2}),
    *("[" * 200, "9" * 6000, "ONLINE", "REMOTE:x", "p_tuning", "prefix_tuning", "lora", ["p_tuning"], {"a": [1]}),
)
LORA_ONLY = {"lora_rank", "lora_alpha", "lora_target"}


@pytest.fixture(params=[350, pytest.param(7000, marks=pytest.mark.slow)], ids=["short", "long"])
def count(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def one_line(check: Callable[[], Any]) -> Any:
    """What a check returns, or what it is refused with: one line that only shows, whatever the input holds."""
    printed = io.StringIO()
    try:
        with redirect_stderr(printed), user_errors_in_one_line():
            found = check()
            if found and isinstance(found, list):
                stop("; ".join(map(str, found)))
            return found
    except SystemExit as stopped:
        assert stopped.code == 2
    (line,) = printed.getvalue().splitlines()
    assert line == printable(line) and line.startswith("llamafactory_ner: ") and "Traceback" not in line
    return line


def mutated(rng: random.Random, value: Any) -> Any:
    """A copy of a JSON-like value with one or a few parts replaced, removed, renamed or added."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        part = value
        while isinstance(part, dict) and part:
            key = rng.choice(list(part))
            if isinstance(part[key], dict) and part[key] and rng.random() < 0.7:
                part = part[key]
                continue
            action = rng.randrange(4)
            if action == 0:
                part[key] = rng.choice(VALUES)
            elif action == 1:
                del part[key]
            elif action == 2:
                part[rng.choice(["x", "", "\x1b", "deepspeed", "dataset"])] = rng.choice(VALUES)
            else:
                part[key] = [part[key]]
            break
    return value


def damaged(rng: random.Random, data: bytes) -> bytes:
    """A file cut short, with bytes replaced, doubled, or of another encoding."""
    at, kind = rng.randrange(len(data)), rng.randrange(5)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[at // 2 :]
    if kind == 3:
        return data.decode("utf-8").encode(rng.choice(["utf-16", "gb18030", "utf-8-sig"]))
    return data[:at] + b"[" * rng.choice([1, 70, 100_000]) + data[at:]


def recipes() -> Iterator[dict[str, Any]]:
    for path in RECIPES:
        yield yaml.safe_load(path.read_text("utf-8"))


def test_arguments_of_any_type_are_checked_without_a_traceback(count: int, tmp_path: Path) -> None:
    rng, known = random.Random(1), list(recipes())
    (tmp_path / "dataset_info.json").write_text('{"demo_train": {"file_name": "x.json"}}')
    base = {"dataset_dir": str(tmp_path), "deepspeed": None, "eval_dataset": None, "tokenized_path": None}
    refused = 0
    for _ in range(count):
        given = mutated(rng, rng.choice(known) | base | {"finetuning_type": rng.choice(["lora", "p_tuning"])})
        refused += bool(one_line(lambda given=given: argument_problems(given, LORA_ONLY)))
        one_line(lambda given=given: dataset_problems(given, "data"))
        one_line(lambda given=given: [base_folder_problem(given.get("model_name_or_path")) or ""])
    assert refused > count / 5


def test_recipes_of_any_content_are_checked_without_a_traceback(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(2)
    monkeypatch.chdir(tmp_path)
    files = {name: (ROOT / "recipes/nano" / name).read_bytes() for name in ("model.yaml", "lora.yaml")}
    folder = tmp_path / "recipes/nano"
    folder.mkdir(parents=True)
    agreed = contradicted = 0
    for _ in range(count // 2):
        for name, data in files.items():
            (folder / name).write_bytes(data)
        name = rng.choice(list(files))
        if rng.random() < 0.5:
            changed = mutated(rng, yaml.safe_load(files[name]))
            try:
                text = yaml.safe_dump(changed, allow_unicode=True)
            except yaml.YAMLError:
                text = json.dumps(changed)
            (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        else:
            (folder / name).write_bytes(damaged(rng, files[name]))
        one_line(lambda: [template_problem(rng.choice([*VALUES, "data/nano"]), rng.choice(VALUES)) or ""])
        found = one_line(lambda: recipe_problems(Path("recipes/nano/lora.yaml")))
        try:
            recipe, model = (
                yaml.safe_load((folder / name).read_text("utf-8")) for name in ("lora.yaml", "model.yaml")
            )
            differ = recipe["model_name_or_path"] != model["weights"] or recipe["template"] != model["template"]
        except Exception:  # noqa: S112 - any reader's way to say that it is damaged
            continue
        agreed += not differ and not found
        contradicted += differ
        assert found or not differ, (recipe, model)
    assert agreed > count / 20 and contradicted > 10


def test_registries_of_any_content_are_checked_without_a_traceback(count: int, tmp_path: Path) -> None:
    rng = random.Random(3)
    entry = {"file_name": "demo_train.json", "columns": {"prompt": "instruction", "query": "input"}}
    registry = {"demo_train": entry, "demo_dev": entry}
    path = tmp_path / "dataset_info.json"
    given = {"dataset": "demo_train,demo_dev", "dataset_dir": str(tmp_path)}
    accepted = 0
    for _ in range(count):
        whole = json.dumps(registry).encode()
        path.write_bytes(json.dumps(mutated(rng, registry)).encode() if rng.random() < 0.5 else damaged(rng, whole))
        if not one_line(lambda: dataset_problems(given, "data")):
            accepted += 1
            read = json.loads(path.read_text())  # as llamafactory does
            assert isinstance(read["demo_train"]["file_name"], str) or set(read["demo_train"]) - {"file_name"}
    assert 10 < accepted < count


def test_prompt_specs_of_any_content_are_whole_or_refused(count: int, tmp_path: Path) -> None:
    rng, whole = random.Random(4), SPEC.read_bytes()
    path = tmp_path / "demo.prompt.json"
    accepted = 0
    for _ in range(count):
        text = json.dumps(mutated(rng, json.loads(whole))).encode()
        path.write_bytes(text if rng.random() < 0.5 else damaged(rng, whole))
        found = one_line(lambda: Prompt.read(path))
        if isinstance(found, Prompt):
            accepted += 1
            assert found.seen.fingerprint == Prompt.read(SPEC).fingerprint
            assert found.bounds.max_tokens > 0 and found.bounds.longest_text > 0
            store_prompt(tmp_path / "adapter", found)
            stored = stored_prompt(tmp_path / "adapter")
            assert stored and stored.value == found.value
    assert 0 < accepted < count / 2


def test_a_damaged_stored_prompt_is_replaced_when_training_starts_again_with_its_weights(tmp_path: Path) -> None:
    rng, whole, tried = random.Random(5), SPEC.read_bytes(), 0
    prompt = Prompt.read(SPEC)
    for _ in range(60):
        (tmp_path / "ner_prompt.json").write_bytes(damaged(rng, whole))
        (tmp_path / "adapter_model.safetensors").write_bytes(b"")
        try:
            same = stored_prompt(tmp_path)
        except UserError:
            same = None
        store_prompt(tmp_path, prompt)
        assert (tmp_path / "ner_prompt.json").read_bytes() == whole
        assert (tmp_path / "adapter_model.safetensors").exists() == (same is not None)
        tried += 1
    assert tried == 60


def test_training_records_of_any_content_are_read_or_left_out_with_one_line(
    count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(6)
    write_training_record(tmp_path, "recipes/nano/lora.yaml", {"lora_rank": 16, "a": [1, {"b": None}]}, ("pytest",))
    path = tmp_path / "ner_training.json"
    whole = path.read_bytes()
    kept = 0
    for _ in range(count):
        text = json.dumps(mutated(rng, json.loads(whole))).encode()
        path.write_bytes(text if rng.random() < 0.5 else damaged(rng, whole))
        record = read_training_record(tmp_path)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == (record is None), lines
        kept += record is not None
        assert record is None or isinstance(record["arguments"], dict)
    assert count / 20 < kept < count


@pytest.mark.parametrize(
    ("file", "specs", "found"),
    [
        ("demo_train.json", ["demo"], "demo"),
        ("my_own_train.json", ["my", "my_own"], "my_own"),
        ("my_own_train.json", ["my"], "my"),
        ("a_b_held_out.json", ["a_b"], "a_b"),
        ("demo_train.json", ["dem", "demo_trai", "other"], None),
        ("demotrain.json", ["demo"], None),
    ],
)
def test_the_spec_beside_a_training_file_is_that_of_its_corpus(
    tmp_path: Path, file: str, specs: list[str], found: str | None
) -> None:
    for name in specs:
        (tmp_path / f"{name}.prompt.json").write_text("{}")
    assert spec_beside(tmp_path / file) == (found and tmp_path / f"{found}.prompt.json")


def test_the_fingerprint_is_that_of_the_prompt_builder(tmp_path: Path) -> None:
    texts = ("", "系统\n", '说"明"', "\u2028", "<|im_end|>")
    for number, text in enumerate(texts):
        spec = PromptSpec("甲", text, text[::-1], ("药品", text), "json_list", max_tokens=number + 1)
        spec.save(tmp_path / "a.prompt.json")
        assert Prompt.read(tmp_path / "a.prompt.json").fingerprint == spec.fingerprint
