"""Training files and registries that a stranger wrote or damaged: read as they are, or refused in one line."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from ner_common.errors import UserError
from support import ROOT

pytestmark = pytest.mark.train

VALUES: tuple[Any, ...] = (None, True, 0, 1e308, "", "x", "a\nb\0", "\ud800", "x" * 5000, [], ["x"], {}, {"x": 1})


@pytest.fixture(params=[150, pytest.param(3000, marks=pytest.mark.slow)], ids=["short", "long"])
def count(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def edited(rng: random.Random, items: list[dict[str, Any]]) -> Any:
    """Records of which one or two have a value replaced, removed or added; or no list of records at all."""
    if rng.random() < 0.1:
        return rng.choice([*VALUES, items[0], [items], [*items, "x"]])
    for _ in range(rng.randint(0, 2)):
        item = rng.choice(items)
        name = rng.choice(["input", "output", "id", "x"])
        if rng.random() < 0.3:
            item.pop(name, None)
        else:
            item[name] = rng.choice(VALUES)
    return items


def damaged(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    cuts = (data[:at], data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :], data[:at] + data[at // 2 :])
    return rng.choice([*cuts, data[:at] + b"[" * 70 + data[at:], b""])


def test_any_training_file_is_read_or_refused_in_one_line(
    count: int, chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llamafactory_ner.training_data import TrainingData, column
    from ner_models.peft_training.recipe import read_recipe
    from ner_models.peft_training.records import load_chats

    monkeypatch.chdir(chain)
    rng = random.Random(14)
    whole = json.loads((chain / "data/alpaca/demo_train.json").read_text(encoding="utf-8"))[:6]
    path, registry = tmp_path / "demo_train.json", tmp_path / "dataset_info.json"
    registry.write_bytes((chain / "data/alpaca/dataset_info.json").read_bytes())
    recipe, _ = read_recipe(ROOT / "recipes/nano/peft_lora.yaml", [f"dataset_dir={tmp_path}"])
    read = refused = 0
    for _ in range(count):
        items = edited(rng, json.loads(json.dumps(whole)))
        data = json.dumps(items, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        path.write_bytes(damaged(rng, data) if rng.random() < 0.3 else data)
        try:
            chats = load_chats(recipe, TrainingData())
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000, error
            refused += 1
            continue
        # What was read is what the file says, turn by turn; what UTF-8 cannot encode is U+FFFD.
        items = json.loads(path.read_bytes().decode("utf-8-sig"))
        said = [f"{item['instruction']}\n{item['input']}".removesuffix("\n") for item in items]
        expected = [text.replace("\ud800", "\ufffd") for text in said]
        assert [turns[0]["content"] for turns in column(chats, "_prompt")] == expected
        read += 1
    assert read + refused == count and read > count // 10 and refused > count // 10
