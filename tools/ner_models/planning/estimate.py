"""The estimate of what a training takes: `Plan`, made from a recipe with its base model, data and card."""

import math
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llamafactory_ner.checks.datasets import split
from ner_common.errors import UserError, one_line, rooted
from ner_common.machine import cpu_number_format
from ner_models.base_models import (
    FILE_NAME,
    RECIPES,
    SMALL_BYTES,
    BaseModel,
    base_model_of,
    load_base_model,
    model_names,
)
from ner_models.peft_training.recipe import read_given
from ner_models.planning import memory
from ner_models.planning.batches import Batch, Lengths, batches, lengths
from ner_models.planning.cards import Card, card_here, processes_here
from ner_models.planning.shapes import Shape, shape_of
from ner_models.planning.sharding import Sharding, sharding_of
from ner_models.serving.command import CPU_CACHE_BYTES, FLOAT32, number_format

GB = 1e9
# Keys of recipes that must be numbers -> the least that they may be.
NUMBERS = {
    "lora_rank": 1, "num_virtual_tokens": 1, "pre_seq_len": 1, "prompt_encoder_hidden_size": 1, "cutoff_len": 1,
    "max_samples": 1, "val_size": 0, "save_total_limit": 1, "seed": 0, "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1, "num_train_epochs": 0, "max_steps": -1,
}  # fmt: skip
MOST_BATCHES = 1000  # that are looked at for the largest and the mean


@dataclass(frozen=True, slots=True)
class Plan:
    """An estimate; all sizes in bytes.

    Attributes:
        name: the recipe, as users name it.
        shape, method, card: of the base model, the recipe and the device.
        sharding: over how many processes, each with a card; sizes and times are of one of them.
        counted: how tokens were counted.
        largest, mean: the batches.
        parts: what the training holds at its peak, by name.
        padded: what it would hold without `share_prompt`.
        disk: what the download, checkpoints and results take.
        free: what is free on the disk.
        records, steps: trained on, and steps of the optimizer.
        operations: floating-point operations of all steps.
        seconds: of the training; None if the card's rate is not known.
        server: what vLLM holds: weights, the cache of keys and values, and on a CPU its processes.
        cached: tokens that the server's cache holds.
    """

    name: str
    shape: Shape
    method: memory.Method
    card: Card
    sharding: Sharding
    counted: str
    largest: Batch
    mean: Batch
    parts: dict[str, int]
    padded: int
    disk: dict[str, int]
    free: int
    records: int
    steps: int
    operations: float
    seconds: float | None
    server: int
    cached: int

    @property
    def needed(self) -> int:
        return sum(self.parts.values())


def plan(
    recipe: Path,
    overrides: Sequence[str] = (),
    card: Card | None = None,
    count_tokens: bool = True,
    gpus: int | None = None,
) -> Plan:
    """Estimate what a recipe takes.

    Args:
        recipe: recipes/MODEL/METHOD.yaml.
        overrides: ``key=value``, as for the training.
        card: what it runs on; None: this machine.
        count_tokens: count tokens with the model's tokenizer if it is there (seconds), else estimate them.
        gpus: how many of the card train; None: as many as a training here would take, one of another card.

    Raises:
        UserError: there is no such recipe or model, it trains nothing, or nothing tells the sizes of its base model.
    """
    given = read_given(recipe, overrides)
    if "export_dir" in given:
        raise UserError(f"{rooted(recipe)}: merges, and trains nothing (export_dir); name a recipe that trains")
    _check_numbers(recipe, given)
    processes = gpus or (1 if card else processes_here())
    card = card or card_here()
    sharding = sharding_of(given, 1 if card.is_cpu else processes)
    model, base = _base(recipe, given)
    shape = shape_of(base, model)
    if shape is None:
        problem = f"{rooted(base)}: not there, and no model.yaml tells its sizes"
        raise UserError(f"{problem}; add shape to {RECIPES}/MODEL/{FILE_NAME}, or put the weights there")
    number = _number(given, card)
    method = memory.method_of(given, shape, number)
    records = _records(given, base, count_tokens)
    trained, steps, several = _schedule(given, len(records.rests), sharding.processes)
    size = int(given.get("per_device_train_batch_size") or 8)
    cutoff = int(given.get("cutoff_len") or 2048)
    seed = int(given.get("seed") or 42)
    largest, mean = batches(records, size, several, method.shared, cutoff, seed)
    padded, _ = batches(records, size, several, False, cutoff, seed)
    served = _served_number(shape, base, card)
    cached = CPU_CACHE_BYTES if card.is_cpu else max(int(card.memory * 0.9) - shape.parameters * served, 0)
    operations = _operations(shape, method, mean) * steps * int(given.get("gradient_accumulation_steps") or 1)
    return Plan(
        name="/".join(recipe.with_suffix("").parts[-2:]),
        shape=shape,
        method=method,
        card=card,
        sharding=sharding,
        counted=records.counted,
        largest=largest,
        mean=mean,
        parts=_parts(shape, method, sharding, largest, card),
        padded=sum(_parts(shape, replace(method, shared=False), sharding, padded, card).values()),
        disk=_disk(given, shape, method, model, base),
        free=shutil.disk_usage(".").free,
        records=trained,
        steps=steps,
        operations=operations,
        seconds=operations / (card.rate * card.share) if card.rate else None,
        server=memory.server(shape, served, cached, card.is_cpu),
        cached=cached // memory.key_cache(shape, served),
    )


def _check_numbers(recipe: Path, given: dict[str, Any]) -> None:
    """Refuse a value that must be a number and is none.

    Raises:
        UserError: see above.
    """
    for name, least in NUMBERS.items():
        value = given.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 1 << 40
        ):
            problem = f"{name} is {one_line(value)}, which is no number from {least} on"
            raise UserError(f"{rooted(recipe)}: {problem}; correct the recipe or the override")


def _base(recipe: Path, given: dict[str, Any]) -> tuple[BaseModel | None, Path]:
    """The base model of a recipe and the folder of its weights: that which it names, else that of its own folder."""
    named = given.get("model_name_or_path")
    own = load_base_model(recipe.parent.name) if recipe.parent.name in model_names() else None
    if not named:
        if own is None:
            raise UserError(f"{rooted(recipe)}: names no model_name_or_path; add it")
        return own, own.weights
    base = Path(str(named))
    return base_model_of(base), base


def _number(given: dict[str, Any], card: Card) -> int:
    """Bytes of a number in training, as `llamafactory_ner.number_format` chooses it."""
    if card.is_cpu:
        half = given.get("bf16") is True and cpu_number_format().name == "bfloat16"
        return 2 if half else 4
    return 2 if given.get("bf16") or given.get("fp16") else 4


def _served_number(shape: Shape, base: Path, card: Card) -> int:
    """Bytes of a number in a server, also of weights that are not there yet."""
    chosen = number_format(base, cpu=card.is_cpu, small=2 * shape.parameters < SMALL_BYTES)
    return 4 if chosen.name in FLOAT32 else 2


def _records(given: dict[str, Any], base: Path, count_tokens: bool) -> Lengths:
    folder = Path(str(given.get("dataset_dir") or "data"))
    paths = [folder / f"{name}.json" for name in split(given.get("dataset") or "")]
    tokenizer = base / "tokenizer.json"
    if count_tokens and tokenizer.is_file():
        with suppress(ImportError):  # no tokenizers in this environment
            return lengths(paths, tokenizer)
    return lengths(paths, None)


def _schedule(given: dict[str, Any], records: int, processes: int) -> tuple[int, int, int]:
    """Records that are trained on, steps of the optimizer, and batches to look at (transformers' own arithmetic)."""
    records = min(records, int(given.get("max_samples") or records))
    held_out = float(given.get("val_size") or 0)
    records -= math.ceil(records * held_out) if held_out < 1 else int(held_out)
    size = int(given.get("per_device_train_batch_size") or 8)
    each = math.ceil(math.ceil(max(records, 1) / size) / processes)
    steps_of_an_epoch = max(math.ceil(each / int(given.get("gradient_accumulation_steps") or 1)), 1)
    most = int(given.get("max_steps") or -1)
    steps = most if most > 0 else math.ceil(float(given.get("num_train_epochs") or 3.0) * steps_of_an_epoch)
    return records, steps, max(min(steps * each // steps_of_an_epoch, MOST_BATCHES), 1)


def _parts(shape: Shape, method: memory.Method, sharding: Sharding, batch: Batch, card: Card) -> dict[str, int]:
    """What is held at the peak: of a layer computed again and the vocabulary's scores, one or the other exists."""
    layer, scores = memory.working_layer(shape, method, batch), memory.scores(shape, method, batch)
    working = "one layer computed again" if method.recompute else "gradients of one layer"
    return {
        "weights": memory.weights(shape, method, sharding),
        "trained numbers, gradients, Adam": memory.training_state(shape, method, sharding),
        "kept of the layers": memory.kept_layers(shape, method, batch),
        working if layer >= scores else "scores of the vocabulary": max(layer, scores),
        "process (Python, torch)" if card.is_cpu else "CUDA and allocator (assumed)": (
            memory.PROCESS_ON_CPU if card.is_cpu else memory.PROCESS_ON_GPU
        ),
    }


def _disk(
    given: dict[str, Any], shape: Shape, method: memory.Method, model: BaseModel | None, base: Path
) -> dict[str, int]:
    """Download (and its conversion) unless it is there; checkpoints with Adam's moments, and the result."""
    parts = {}
    if model and model.source and not base.is_dir():
        parts["download"] = int(model.gigabytes * GB)
        if model.after_download:
            parts["converted weights"] = 2 * shape.parameters
    kept = int(given.get("save_total_limit") or 3)
    parts[f"{kept} checkpoints and the result"] = method.trained * (12 * kept + 4)
    return parts


def _operations(shape: Shape, method: memory.Method, batch: Batch) -> float:
    """Of one batch: 2 for each weight and token in each of three matrix products, forward and backward, without that
    for the gradient of frozen weights, and forward again if layers are computed again (sources: tests/bench/floor.py).
    """
    passes = 6 if method.kind == "full" else 4
    again = 2 if method.recompute else 0
    sees = batch.prompt + batch.longest / 2
    layers = 2 * shape.linear_weights + 4 * shape.width * sees * shape.num_hidden_layers
    head = batch.labels if method.shared else batch.tokens
    return (passes + again) / 2 * layers * batch.tokens + passes * shape.hidden_size * shape.vocab_size * head


def matrix_rate(found: Plan) -> float:
    """Operations per second of matrix products of the model's own shape on this machine: the best of three."""
    import time

    import torch

    kind = torch.bfloat16 if found.method.number == 2 else torch.float32
    outputs, inputs = max(found.shape.linear)
    rows, matrix = (
        torch.randn(min(found.mean.tokens, 512), inputs, dtype=kind),
        torch.randn(outputs, inputs, dtype=kind),
    )
    best = float("inf")
    for _ in range(4):
        started = time.perf_counter()
        torch.nn.functional.linear(rows, matrix)
        best = min(best, time.perf_counter() - started)
    return float(2 * rows.numel() * outputs / best)
