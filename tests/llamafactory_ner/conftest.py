"""A tiny random Qwen2-type model with its own tokenizer, and a small data set, built once per test run."""

import json
import os
import random
from pathlib import Path

import pytest

from own_corpus import SPEC, write_data

LABELS = ("药品", "疾病", "症状", "人群")


def chinese(rng: random.Random, length: int) -> str:
    return "".join(chr(rng.randrange(0x4E00, 0x4E00 + 300)) for _ in range(length))


def alpaca_records(count: int, seed: int) -> list[dict[str, str]]:
    """Records whose answer copies a span of the input; lengths differ, so batches are padded. A third ask otherwise."""
    rng = random.Random(seed)
    records = []
    for number in range(count):
        text = chinese(rng, rng.randrange(4, 40))
        start = rng.randrange(len(text) - 2)
        answer = json.dumps([{"label": rng.choice(LABELS), "text": text[start : start + 2]}], ensure_ascii=False)
        asked = "找出实体。" if number % 3 else "列出文本中的所有实体。"
        records.append({"instruction": asked, "input": text, "output": answer, "system": "你是助手。"})
    return records


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    info = {}
    for name, count, seed in (("toy_train", 24, 1), ("toy_dev", 8, 2)):
        (folder / f"{name}.json").write_text(json.dumps(alpaca_records(count, seed), ensure_ascii=False), "utf-8")
        columns = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
        info[name] = {"file_name": f"{name}.json", "columns": columns}
    (folder / "dataset_info.json").write_text(json.dumps(info), "utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("tiny_qwen2")
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=letters, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=320,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.2,  # large, so that answers to different texts differ
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def run_exp():
    """llamafactory's own entry function, hooked in this process as autowrapt hooks it at interpreter start."""
    from wrapt import discover_post_import_hooks

    # `make test` sets the variable, so autowrapt has already hooked it; hooked twice, the hooks would wrap themselves.
    if os.environ.get("AUTOWRAPT_BOOTSTRAP") != "llamafactory_ner":
        discover_post_import_hooks("llamafactory_ner")
    from llamafactory.train.tuner import run_exp

    return run_exp


@pytest.fixture
def recipe(tiny_qwen2: Path, data_dir: Path, tmp_path: Path):
    """Build the arguments of a small training run in its own folder; keywords override."""

    def build(**overrides: object) -> dict[str, object]:
        base: dict[str, object] = {
            "model_name_or_path": str(tiny_qwen2),
            "stage": "sft",
            "do_train": True,
            "num_virtual_tokens": 7,
            "dataset_dir": str(data_dir),
            "dataset": "toy_train",
            "template": "qwen",
            "cutoff_len": 512,
            "output_dir": str(tmp_path / "out"),
            "per_device_train_batch_size": 4,
            "learning_rate": 0.01,
            "num_train_epochs": 1,
            "logging_steps": 1,
            "disable_tqdm": True,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "overwrite_cache": True,
        }
        merged = base | overrides
        return {name: value for name, value in merged.items() if value is not None}

    return build


@pytest.fixture
def refused(run_exp, recipe, capsys, monkeypatch):
    """The one line with which a recipe is refused; loading a model would fail the test."""
    from llamafactory.model import loader

    def load_config(*_args, **_kwargs):
        raise AssertionError("the model was being loaded")

    monkeypatch.setattr(loader, "load_config", load_config)

    def run(entry=run_exp, **overrides) -> str:
        with pytest.raises(SystemExit) as stopped:
            entry(recipe(**overrides))
        assert stopped.value.code == 2
        assert not Path(recipe()["output_dir"]).exists()
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("llamafactory_ner: ")]
        assert len(lines) == 1
        return lines[0]

    return run


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "alpaca"
    folder.mkdir()
    write_data(folder, SPEC, "own_train", ["头痛", "感冒", "发热", "咳嗽"] * 4)
    return folder


@pytest.fixture
def training(recipe, own: Path):
    """The arguments of a short training on `own`."""

    def build(**changes: object) -> dict[str, object]:
        base = {"finetuning_type": "lora", "num_virtual_tokens": None, "dataset_dir": str(own), "dataset": "own_train"}
        return recipe(**(base | {"max_steps": 2} | changes))

    return build
