"""A training's folder as llamafactory and the plugin leave it, small enough to be written by hand."""

import json
import math
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ner_common.held_out import HeldOut, texts_checksum, write_held_out
from ner_common.training_record import write_training_record
from ner_data.alpaca import build_spec, spec_file
from ner_data.corpus import load_corpus
from ner_data.gold import Entity, Record, write_gold
from ner_data.prompt import PromptSpec
from ner_models.chatglm3.shards import write_shard

ADAPTER = Path("saves/nano/lora/demo")
ARGUMENTS = {"finetuning_type": "lora", "dataset": "demo_train", "val_size": 0.1, "seed": 42}
CONFIG = {"peft_type": "LORA", "base_model_name_or_path": "data/nano", "r": 8, "target_modules": ["q_proj", "k_proj"]}


def write_weights(path: Path, seed: int, width: int = 4) -> None:
    values = array("f", [math.sin(seed * 100 + n) for n in range(8 * width)]).tobytes()
    write_shard(path, [("lora_A", "F32", (8, width))], [values])


def write_state(folder: Path, step: int, **changes: Any) -> None:
    """``trainer_state.json`` of a training that logs and measures every 100 steps."""
    log: list[dict[str, Any]] = []
    for at in range(100, step + 1, 100):
        log.append({"epoch": at / 200, "step": at, "loss": 50 / at, "grad_norm": 1.5})
        log.append({"epoch": at / 200, "step": at, "eval_loss": 40 / at})
    state = {"global_step": step, "epoch": step / 200, "max_steps": 300, "log_history": log, **changes}
    (folder / "trainer_state.json").write_text(json.dumps(state))


def write_folder(folder: Path, spec: PromptSpec, seed: int, step: int, encoder: bool = False) -> None:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))
    write_weights(folder / "adapter_model.safetensors", seed)
    if encoder:
        write_weights(folder / "prompt_encoder.safetensors", seed + 1)
    write_state(folder, step)
    spec.save(folder / "ner_prompt.json")


def write_training(
    adapter: Path = ADAPTER, steps: Sequence[int] = (100, 200, 300), held_out: int = 10, encoder: bool = False
) -> PromptSpec:
    """A finished training on demo in the current folder: 40 train records, some held out; the last step is the end."""
    records = [Record(f"t-{n}", f"林{n:02}在云帆任职", (Entity(0, 3, "name", f"林{n:02}"),)) for n in range(40)]
    write_gold(load_corpus("demo").gold_file("train"), records)
    spec = build_spec(load_corpus("demo"), records, "json_list")
    spec.save(spec_file("demo"))
    write_folder(adapter, spec, steps[-1], steps[-1], encoder)
    for step in steps:
        write_folder(adapter / f"checkpoint-{step}", spec, step, step, encoder)
    write_training_record(adapter, "recipes/nano/lora.yaml", ARGUMENTS, ())
    drawn = records[-held_out:][::-1]  # drawn in another order than that of the file
    texts = texts_checksum((record.id, spec.user_text(record.text)) for record in drawn)
    write_held_out(adapter, HeldOut(("demo_train",), 0.1, 42, texts, tuple(record.id for record in drawn)))
    return spec


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
