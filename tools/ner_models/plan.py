"""``ner-model plan RECIPE``: what a training will take, before anything is downloaded: memory, disk, steps, time.

An estimate by formulas (`planning.memory`, `planning.cards`), which refuses nothing and warns of what does not fit.
``tests/ner_models/planning/test_measured.py`` compares it with what trainings and a server on a CPU really used.
"""

import argparse
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ner_common.commands import positive
from ner_models.planning.cards import CARDS, card_named
from ner_models.planning.estimate import GB, Plan, matrix_rate, plan
from ner_models.serving.command import MAX_MODEL_LEN

# What one GPU holds, by the stage of ZeRO.
HELD = (
    "all of it",
    "its share of the optimizer's state",
    "its share of the optimizer's state and of the gradients",
    "its share of the optimizer's state, of the gradients and of the weights",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipes/MODEL/METHOD.yaml.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Override the recipe.")
    parser.add_argument("--card", metavar="NAME", help=f"cpu, {', '.join(CARDS)} (default: this machine's).")
    parser.add_argument("--gpus", type=positive(int), metavar="N",
                        help="Train on N of them (default: all of this machine's; one of another card).")  # fmt: skip
    parser.add_argument(
        "--last-line",
        action="store_true",
        help="Only the last line, and nothing if something is unknown.",
    )


def run(args: argparse.Namespace) -> None:
    card = card_named(args.card) if args.card else None
    if args.last_line:
        with suppress(Exception):  # it is printed before a training, which must start whatever this knows
            print(last_line(plan(args.recipe, args.overrides, card, count_tokens=False, gpus=args.gpus)))
        return
    found = plan(args.recipe, args.overrides, card, gpus=args.gpus)
    if found.card.is_cpu:
        found = measured_on_cpu(found)
    print("\n".join([*table(found), last_line(found)]))


def measured_on_cpu(found: Plan) -> Plan:
    """The plan with the time that this CPU would need, by the speed of its matrix products now (a second or two)."""
    try:
        rate = matrix_rate(found)
    except ImportError:  # no torch in this environment
        return found
    return replace(found, seconds=found.operations / (rate * found.card.share))


def last_line(found: Plan) -> str:
    """The plan in one sentence, and what to change if it does not fit."""
    where = "this machine's memory" if found.card.is_cpu else _each(found)
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
        *([] if found.card.is_cpu else [f"  figures of   {_each(found)}, which holds {HELD[found.sharding.stage]}"]),
        f"  base model   {shape.parameters / 1e9:.2f} G parameters, "
        f"{shape.num_hidden_layers} layers of {shape.hidden_size}",
        f"  method       {method.kind}{' in 4 bits' if method.bits4 else ''}{' with DoRA' if method.dora else ''}, "
        f"{method.trained / 1e6:.2f} M trained; {'16-bit' if method.number == 2 else 'float32'}; {kept}",
        f"  batch        {batch.records} records: at most {batch.tokens:,} tokens, {batch.labels:,} labels, "
        f"on average {found.mean.tokens:,} ({shared}; {found.counted})",
        "  memory in training, GB",
    ]
    lines += [f"    {name:<42}{size / GB:>8.2f}" for name, size in found.parts.items()]
    lines.append(f"    {'together':<42}{found.needed / GB:>8.2f}")
    lines += [f"    {'together, without share_prompt':<42}{found.padded / GB:>8.2f}"] if method.shared else []
    lines.append("  disk, GB")
    lines += [f"    {name:<42}{size / GB:>8.2f}" for name, size in found.disk.items()]
    rate = found.card.rate
    used = f"{found.card.share:.0%} of its {'peak' if rate else 'matrix products'} rate"
    assumed = "measured elsewhere" if found.card.is_cpu else "assumed, not measured"
    lines += [
        f"  time         {found.steps:,} steps over {found.records:,} records, {found.operations:.2g} operations at "
        f"{used} ({assumed}): {_duration(found.seconds) if found.seconds else 'unknown rate'}",
        f"  serving      {found.server / GB:.1f} GB: weights, and a cache for {found.cached:,} tokens "
        f"({found.cached // MAX_MODEL_LEN:,} requests of {MAX_MODEL_LEN})",
    ]
    return lines


def _each(found: Plan) -> str:
    count = found.sharding.processes
    return f"one {found.card.name}" if count == 1 else f"each of {count} {found.card.name}"


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
    if found.sharding.stage and found.sharding.processes == 1:
        remedies.append("--gpus N, if it is spread over N")
    if method.kind == "full" and found.sharding.processes > 1 and found.sharding.stage < 3:
        remedies.append("deepspeed=recipes/deepspeed/z3.json")
    if method.kind == "full":
        remedies.append("METHOD=lora")
    elif method.kind == "lora" and not method.bits4 and not found.card.is_cpu:
        remedies.append("METHOD=qlora")
    return remedies


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(seconds / 60, 0.1):.1f} min"
