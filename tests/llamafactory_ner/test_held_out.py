"""The records that llamafactory holds out are recorded: exactly those, with the texts they were asked with."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llamafactory_ner.training_data import TrainingData
from ner_common.errors import UserError
from ner_common.held_out import read_held_out, texts_checksum
from ner_data.prompt import PromptSpec

pytestmark = pytest.mark.train

SPEC = PromptSpec("own", "你是助手。", "找出实体。\n文本：", ("药品", "疾病"), "json_list", 64, 40)
COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
TEXTS = [f"第{n}人说<|im_end|>头痛" for n in range(20)]
NO_LENGTH = {"finetuning_type": "lora", "num_virtual_tokens": None, "max_steps": 2, "val_size": 0.2}


def write(folder: Path, name: str, texts: list[str], ids: list[str] | None = None) -> None:
    items: list[dict[str, Any]] = [
        {"system": SPEC.system, "instruction": SPEC.instruction, "input": text, "output": "[]"} for text in texts
    ]
    for item, id in zip(items, ids or (), strict=False):
        item["id"] = id
    (folder / f"{name}.json").write_text(json.dumps(items, ensure_ascii=False), "utf-8")
    registry = folder / "dataset_info.json"
    known = json.loads(registry.read_text()) if registry.exists() else {}
    registry.write_text(json.dumps(known | {name: {"file_name": f"{name}.json", "columns": COLUMNS}}))
    SPEC.save(folder / "own.prompt.json")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "alpaca"
    folder.mkdir()
    write(folder, "own_train", TEXTS, [f"r-{n}" for n in range(20)])
    return folder


@pytest.fixture
def train(run_exp, recipe, own: Path, monkeypatch: pytest.MonkeyPatch):
    """Train a little; returns the output folder, and the records that the host held out as it drew them."""

    def call(**changes: object) -> tuple[Path, list[str]]:
        from llamafactory.data import loader

        drawn: list[str] = []
        split = loader.split_dataset

        def watching(*args: Any, **kwargs: Any) -> Any:
            train, held = split(*args, **kwargs)
            drawn[:] = [turns[0]["content"] for turns in held["validation"]["_prompt"]] if held else []
            return train, held

        monkeypatch.setattr(loader, "split_dataset", watching)
        arguments = recipe(**(NO_LENGTH | {"dataset_dir": str(own), "dataset": "own_train"} | changes))
        run_exp(arguments)
        monkeypatch.setattr(loader, "split_dataset", split)
        return Path(str(arguments["output_dir"])), drawn

    return call


def test_exactly_the_records_that_the_host_drew_are_recorded(train) -> None:
    folder, drawn = train()
    held_out = read_held_out(folder, "")
    assert held_out is not None and (held_out.datasets, held_out.val_size, held_out.seed) == (("own_train",), 0.2, 42)
    texts = [TEXTS[int(id.removeprefix("r-"))] for id in held_out.records]
    assert len(texts) == 4 and drawn == [f"{SPEC.instruction}\n{text}" for text in texts]
    assert held_out.texts == texts_checksum(zip(held_out.records, drawn, strict=True))


def test_a_data_set_that_escapes_is_found_again_by_its_gold(train, own: Path) -> None:
    """The training file holds escaped texts; gold, and so the spec's own turn, is what they come from."""
    from ner_data.prompt import escape

    write(own, "own_train", [escape(text) for text in TEXTS], [f"r-{n}" for n in range(20)])
    held_out = read_held_out(train()[0], "")
    assert held_out is not None
    asked = ((id, SPEC.user_text(TEXTS[int(id.removeprefix("r-"))])) for id in held_out.records)
    assert held_out.texts == texts_checksum(asked)


def test_records_that_ask_for_fewer_labels_are_held_out_as_they_are_asked_later(train, own: Path) -> None:
    spec = replace(SPEC, fewer=("只找药品。\n文本：", "只找疾病。\n文本："))
    items = json.loads((own / "own_train.json").read_text("utf-8"))
    for number, item in enumerate(items):
        item["instruction"] = (spec.instruction, *spec.fewer)[number % 3]
    (own / "own_train.json").write_text(json.dumps(items), "utf-8")
    spec.save(own / "own.prompt.json")
    folder, drawn = train()
    held_out = read_held_out(folder, "")
    assert held_out is not None and len({asked.partition("\n")[0] for asked in drawn}) > 1
    whole = ((id, f"{spec.instruction}\n{TEXTS[int(id.removeprefix('r-'))]}") for id in held_out.records)
    assert held_out.texts == texts_checksum(whole)


def test_the_seed_decides(train, tmp_path: Path) -> None:
    one, other = (read_held_out(train(seed=seed, output_dir=str(tmp_path / str(seed)))[0], "") for seed in (1, 2))
    assert one and other and set(one.records) != set(other.records)


@pytest.mark.parametrize(
    "changes",
    [
        {"val_size": None},
        {"val_size": None, "eval_dataset": "own_train"},
        {"streaming": True, "val_size": 4, "dataloader_num_workers": 1},
    ],
    ids=["no val_size", "eval_dataset", "streaming"],
)
def test_without_a_fixed_held_out_part_none_is_recorded(changes: dict[str, object], train) -> None:
    folder, _ = train()
    assert (folder / "ner_held_out.json").exists()
    train(overwrite_output_dir=True, **changes)
    assert (folder / "ner_training.json").exists() and not (folder / "ner_held_out.json").exists()


@pytest.mark.parametrize("ids", [None, ["r-1"] * 20, [""] * 20], ids=["no ids", "one id", "empty ids"])
def test_records_without_ids_of_their_own_are_not_recorded(ids: list[str] | None, train, own: Path) -> None:
    write(own, "own_train", TEXTS, ids)
    assert read_held_out(train()[0], "") is None


def test_several_data_sets_are_named(train, own: Path) -> None:
    write(own, "own_more", TEXTS, [f"m-{n}" for n in range(20)])
    held_out = read_held_out(train(dataset="own_train,own_more")[0], "")
    assert held_out is not None and held_out.datasets == ("own_train", "own_more") and len(held_out.records) == 8


def test_a_resumed_training_keeps_them_only_if_they_are_the_same(train, own: Path, capsys) -> None:
    saving = {"save_strategy": "steps", "save_steps": 2}
    folder, _ = train(**saving)
    before = (folder / "ner_held_out.json").read_bytes()
    train(**saving, max_steps=4)
    assert (folder / "ner_held_out.json").read_bytes() == before
    write(own, "own_train", TEXTS[::-1], [f"r-{n}" for n in range(20)])
    capsys.readouterr()
    train(**saving, max_steps=6)
    assert read_held_out(folder, "") is None
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "held out" in line]
    assert "are not those of before the interruption; `make select` needs a training from the start" in line
    write(own, "own_train", TEXTS, [f"r-{n}" for n in range(20)])
    train(**saving, max_steps=8)
    assert read_held_out(folder, "") is None  # what happened in between is not known any more


def test_the_training_data_are_the_same_with_and_without_watching(recipe, own: Path, run_exp) -> None:
    """The record's id is taken out again: the model is fed what it was always fed."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    model_args, data_args, training_args, *_ = get_train_args(
        recipe(**(NO_LENGTH | {"dataset_dir": str(own), "dataset": "own_train"}))
    )
    tokenizer = load_tokenizer(model_args)["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data_args)

    def load() -> list[dict[str, Any]]:
        data = get_dataset(template, model_args, data_args, training_args, stage="sft", tokenizer=tokenizer)
        return [*data["train_dataset"], *data["eval_dataset"]]

    plain = load()
    watching = TrainingData()
    with watching.watched():
        assert load() == plain
    assert watching.held_out is not None


def test_a_damaged_record_does_not_stop_a_resumed_training(train, capsys) -> None:
    saving = {"save_strategy": "steps", "save_steps": 2}
    folder, _ = train(**saving)
    (folder / "ner_held_out.json").write_text("{")
    with pytest.raises(UserError):
        read_held_out(folder, "")
    train(**saving, max_steps=4)
    assert read_held_out(folder, "") is None
    assert "`make select` needs a training from the start" in capsys.readouterr().err
