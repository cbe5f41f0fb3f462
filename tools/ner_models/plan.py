"""``ner-model plan RECIPE``: what a training will take, before anything is downloaded: memory, disk, steps, time.

An estimate by formulas (`planning.memory`, `planning.cards`), which refuses nothing and warns if something does not fit.
``tests/ner_models/test_plan.py`` compares it with what trainings and a server on a CPU really used.
"""

import argparse
import math
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamafactory_ner.checks.datasets import split
from ner_common.errors import UserError, rooted
from ner_common.machine import cpu_number_format
from ner_models.base_models import FILE_NAME, RECIPES, BaseModel, base_model_of, is_small, load_base_model, model_names
from ner_models.peft_training.recipe import read_given
from ner_models.planning import memory
from ner_models.planning.batches import Batch, Lengths, batches, lengths
from ner_models.planning.cards import CARDS, Card, card_here, card_named
from ner_models.planning.shapes import Shape, shape_of
from ner_models.serving.command import CPU_CACHE_BYTES, MAX_MODEL_LEN, Settings

GB = 1e9
SEVERAL = 50  # batches at most for the mean and the largest of an epoch's batches, for each epoch


@dataclass(frozen=True, slots=True)
class Plan:
    """An estimate; all sizes in bytes.

    Attributes:
        name: the recipe, as users name it.
        shape, method, card: of the base model, the recipe and the device.
        counted: how tokens were counted.
        largest, mean: the batches.
        parts: what the training holds at its peak, by name.
        disk: what the download, checkpoints and results take.
        free: what is free on the disk.
        records, steps: trained on, and steps of the optimizer.
        operations: floating-point operations of all steps.
        seconds: of the training; None if the card's rate is not known.
        server: what vLLM holds: weights and the cache of keys and values.
        cached: tokens that the server's cache holds.
    """

    name: str
    shape: Shape
    method: memory.Method
    card: Card
    counted: str
    largest: Batch
    mean: Batch
    parts: dict[str, int]
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


def plan(recipe: Path, overrides: Sequence[str] = (), card: Card | None = None, count_tokens: bool = True) -> Plan:
    """Estimate what a recipe takes.

    Args:
        recipe: recipes/MODEL/METHOD.yaml.
        overrides: ``key=value``, as for the training.
        card: what it runs on; None: this machine.
        count_tokens: count tokens with the model's tokenizer if it is there (seconds), else estimate them.

    Raises:
        UserError: there is no such recipe or model, or nothing tells the sizes of its base model.
    """
    given = read_given(recipe, overrides)
    card = card or card_here()
    model, base = _base(recipe, given)
    shape = shape_of(base, model)
    if shape is None:
        problem = f"{rooted(base)}: not there, and no model.yaml tells its sizes"
        raise UserError(f"{problem}; add shape to {RECIPES}/MODEL/{FILE_NAME}, or put the weights there")
    number = _number(given, base, card)
    method = memory.method_of(given, shape, number)
    records = _records(given, base, count_tokens)
    trained, steps, several = _schedule(given, len(records.rests))
    size = int(given.get("per_device_train_batch_size") or 8)
    cutoff = int(given.get("cutoff_len") or 2048)
    largest, mean = batches(records, size, several, method.shared, cutoff, int(given.get("seed") or 42))
    cached = CPU_CACHE_BYTES if card.is_cpu else max(int(card.memory * 0.9) - shape.parameters * number, 0)
    operations = _operations(shape, method, mean) * steps * int(given.get("gradient_accumulation_steps") or 1)
    return Plan(
        name="/".join(recipe.with_suffix("").parts[-2:]),
        shape=shape,
        method=method,
        card=card,
        counted=records.counted,
        largest=largest,
        mean=mean,
        parts=_parts(shape, method, largest, card),
        disk=_disk(given, shape, method, model, base),
        free=shutil.disk_usage(".").free,
        records=trained,
        steps=steps,
        operations=operations,
        seconds=operations / (card.rate * card.share) if card.rate else None,
        server=shape.parameters * number + cached,
        cached=cached // memory.key_cache(shape, number),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipes/MODEL/METHOD.yaml.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Override the recipe.")
    parser.add_argument("--card", metavar="NAME", help=f"cpu, {', '.join(CARDS)} (default: this machine's).")
    parser.add_argument(
        "--last-line", action="store_true", help="Print the last line only, quickly; say nothing if something is unknown."
    )


def run(args: argparse.Namespace) -> None:
    card = card_named(args.card) if args.card else None
    if args.last_line:
        with suppress(Exception):  # it is printed before a training, which must start whatever this knows
            print(last_line(plan(args.recipe, args.overrides, card, count_tokens=False)), file=sys.stderr)
        return
    found = plan(args.recipe, args.overrides, card or card_here())
    if found.card.is_cpu:
        found = measured_on_cpu(found)
    print("\n".join([*table(found), last_line(found)]))


def measured_on_cpu(found: Plan) -> Plan:
    """The plan with the time that this CPU would need, by the speed of its matrix products now (a second or two)."""
    try:
        rate = _matrix_rate(found)
    except ImportError:  # no torch in this environment
        return found
    from dataclasses import replace

    return replace(found, seconds=found.operations / (rate * found.card.share))


def last_line(found: Plan) -> str:
    """The plan in one sentence, and what to change if it does not fit."""
    where = "this machine's memory" if found.card.is_cpu else found.card.name
    share = found.needed / found.card.memory
    hours = f", about {_duration(found.seconds)}" if found.seconds else ""
    said = f"plan (estimate): {found.name} needs {found.needed / GB:.1f} GB, {share:.0%} of {where}"
    said += f"; {sum(found.disk.values()) / GB:.1f} GB of disk; {found.steps:,} steps{hours}"
    warnings = []
    if share > 0.95:
        warnings.append(f"it does not fit: {'; '.join(_remedies(found)) or 'take a smaller model or a larger card'}")
    if sum(found.disk.values()) > found.free:
        warnings.append(f"only {found.free / GB:.1f} GB of disk are free: make room")
    return said + (f". WARNING: {'. '.join(warnings)}" if warnings else "")


def table(found: Plan) -> list[str]:
    """The plan for people: one line for each figure, with what it was computed from."""
    shape, method, batch = found.shape, found.method, found.largest
    shared = "prompt computed once" if method.shared else "padded"
    kept = "gradient checkpointing" if method.recompute else "all layers kept"
    lines = [
        f"{found.name} on {found.card.name} ({found.card.memory / GB:.1f} GB)",
        f"  base model   {shape.parameters / 1e9:.2f} G parameters, {shape.num_hidden_layers} layers of {shape.hidden_size}",
        f"  method       {method.kind}{' in 4 bits' if method.bits4 else ''}{' with DoRA' if method.dora else ''}, "
        f"{method.trained / 1e6:.2f} M trained; {'16-bit' if method.number == 2 else 'float32'}; {kept}",
        f"  batch        {batch.records} records: at most {batch.tokens:,} tokens, {batch.labels:,} labels, on average "
        f"{found.mean.tokens:,} ({shared}; {found.counted})",
        "  memory in training, GB",
    ]
    lines += [f"    {name:<42}{size / GB:>8.2f}" for name, size in found.parts.items()]
    lines += [f"    {'together':<42}{found.needed / GB:>8.2f}", "  disk, GB"]
    lines += [f"    {name:<42}{size / GB:>8.2f}" for name, size in found.disk.items()]
    rate = found.card.rate
    used = f"{found.card.share:.0%} of its {'peak' if rate else 'matrix products'} rate"
    assumed = "measured elsewhere" if found.card.is_cpu else "assumed, not measured"
    lines += [
        f"  time         {found.steps:,} steps over {found.records:,} records, {found.operations:.2g} operations at {used} "
        f"({assumed}): {_duration(found.seconds) if found.seconds else 'unknown rate'}",
        f"  serving      {found.server / GB:.1f} GB: weights, and a cache for {found.cached:,} tokens "
        f"({found.cached // MAX_MODEL_LEN:,} requests of {MAX_MODEL_LEN})",
    ]
    return lines


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


def _number(given: dict[str, Any], base: Path, card: Card) -> int:
    """Bytes of a number in training, as `llamafactory_ner.number_format` chooses it."""
    if card.is_cpu:
        half = given.get("bf16") is True and not is_small(base) and cpu_number_format().name == "bfloat16"
        return 2 if half else 4
    return 2 if given.get("bf16") or given.get("fp16") else 4


def _records(given: dict[str, Any], base: Path, count_tokens: bool) -> Lengths:
    folder = Path(str(given.get("dataset_dir") or "data"))
    paths = [folder / f"{name}.json" for name in split(given.get("dataset") or "")]
    tokenizer = base / "tokenizer.json"
    if count_tokens and tokenizer.is_file():
        with suppress(ImportError):  # no tokenizers in this environment
            return lengths(paths, tokenizer)
    return lengths(paths, None)


def _schedule(given: dict[str, Any], records: int) -> tuple[int, int, int]:
    """Records that are trained on, steps of the optimizer, and batches to look at (transformers' own arithmetic)."""
    records = min(records, int(given.get("max_samples") or records))
    held_out = float(given.get("val_size") or 0)
    records -= math.ceil(records * held_out) if held_out < 1 else int(held_out)
    size = int(given.get("per_device_train_batch_size") or 8)
    each = max(math.ceil(max(records, 1) / size), 1)
    steps_of_an_epoch = max(math.ceil(each / int(given.get("gradient_accumulation_steps") or 1)), 1)
    most = int(given.get("max_steps") or -1)
    steps = most if most > 0 else math.ceil(float(given.get("num_train_epochs") or 3.0) * steps_of_an_epoch)
    return records, steps, max(min(steps * each // steps_of_an_epoch, 20 * SEVERAL), 1)


def _parts(shape: Shape, method: memory.Method, batch: Batch, card: Card) -> dict[str, int]:
    """What is held at the peak: of a layer computed again and the vocabulary's scores, one or the other exists."""
    layer, scores = memory.working_layer(shape, method, batch), memory.scores(shape, method, batch)
    return {
        "weights": memory.weights(shape, method),
        "trained numbers, gradients, Adam": memory.training_state(shape, method),
        "kept of the layers": memory.kept_layers(shape, method, batch),
        "one layer computed again" if layer >= scores else "scores of the vocabulary": max(layer, scores),
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
    """Of one batch, forward and backward: 2 for each weight and token in each of three matrix products, without that for
    the gradient of frozen weights, and forward again if layers are computed again (`tests/bench/floor.py` has the
    sources and what no implementation can avoid)."""
    passes = 6 if method.kind == "full" else 4
    again = 2 if method.recompute else 0
    sees = batch.prompt + batch.longest / 2
    layers = 2 * shape.linear_weights + 4 * shape.width * sees * shape.num_hidden_layers
    head = batch.labels if method.shared else batch.tokens
    return (passes + again) / 2 * layers * batch.tokens + passes * shape.hidden_size * shape.vocab_size * head


def _matrix_rate(found: Plan) -> float:
    """Operations per second of matrix products of the model's own shape on this machine: the best of three."""
    import time

    import torch

    kind = torch.bfloat16 if found.method.number == 2 else torch.float32
    outputs, inputs = max(found.shape.linear)
    rows, matrix = torch.randn(min(found.mean.tokens, 512), inputs, dtype=kind), torch.randn(outputs, inputs, dtype=kind)
    best = math.inf
    for _ in range(4):
        started = time.perf_counter()
        torch.nn.functional.linear(rows, matrix)
        best = min(best, time.perf_counter() - started)
    return 2 * rows.numel() * outputs / best


def _remedies(found: Plan) -> list[str]:
    """What would save memory, by the part that takes most."""
    method, remedies = found.method, []
    if not method.recompute:
        remedies.append("disable_gradient_checkpointing=false")
    if not method.shared:
        remedies.append("share_prompt=true")
    if found.largest.records > 1 and found.parts["kept of the layers"] > found.needed / 10:
        remedies.append(
            f"per_device_train_batch_size={max(found.largest.records // 4, 1)} with gradient_accumulation_steps=4"
        )
    if method.kind == "full":
        remedies.append("METHOD=lora")
    elif method.kind == "lora" and not method.bits4 and not found.card.is_cpu:
        remedies.append("METHOD=qlora")
    return remedies


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(seconds / 60, 0.1):.1f} min"
