"""Batches that share a prompt or not, and how far apart the trainings on them end."""

import json
import random
from pathlib import Path

from llamafactory_ner.shared_rows import IGNORED

VOCABULARY = 256
PROMPTS = {"one prompt": (40,), "two prompts": (40, 25), "no common token": (0,)}
KINDS = [*PROMPTS, "one record", "labels in the prompt", "all the same", "one the beginning of another, two the same"]
KINDS += ["one long record among short ones"]


def tokens(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(2, VOCABULARY) for _ in range(count)]


def record(rng: random.Random, prompt: list[int], all_labelled: bool = False) -> dict[str, list[int]]:
    text, answer = tokens(rng, rng.randrange(1, 30)), tokens(rng, rng.randrange(1, 12))
    before = prompt + text
    return {"input_ids": before + answer, "labels": (before if all_labelled else [IGNORED] * len(before)) + answer}


def records(kind: str, count: int = 8) -> list[dict[str, list[int]]]:
    rng = random.Random(kind)
    if kind == "one record":
        return [record(rng, tokens(rng, 40))]
    if kind == "labels in the prompt":
        prompt = tokens(rng, 40)
        return [record(rng, prompt, all_labelled=True) for _ in range(count)]
    if kind == "all the same":
        return [record(rng, tokens(rng, 40))] * count
    if kind == "one the beginning of another, two the same":
        made = records("one prompt")
        beginning = {name: values[:45] for name, values in made[0].items()}
        return [*made, beginning, dict(made[1])]
    if kind == "one long record among short ones":
        made = records("one prompt")
        more = tokens(rng, 400)
        made[3] = {"input_ids": made[3]["input_ids"] + more, "labels": made[3]["labels"] + more}
        return made
    prompts = [tokens(rng, length) for length in PROMPTS[kind]]
    return [record(rng, prompts[n % len(prompts)]) for n in range(count)]


def padded(features):
    import torch

    longest = max(len(feature["input_ids"]) for feature in features)

    def column(name: str, filler: int):
        return torch.tensor([f[name] + [filler] * (longest - len(f[name])) for f in features])

    mask = column("labels", 0) * 0
    for row, feature in zip(mask, features, strict=True):
        row[: len(feature["input_ids"])] = 1
    return {"input_ids": column("input_ids", 0), "labels": column("labels", IGNORED), "attention_mask": mask}


# Plain gradient descent: Adam would turn rounding errors of the smallest gradients into steps of full size.
# Unclipped, because clipping hides that a gradient is too long.
DESCENT = {"optim": "sgd", "learning_rate": 0.01, "lr_scheduler_type": "constant", "max_grad_norm": 1e6}


def weights_of(folder: Path):
    from safetensors.torch import load_file

    (file,) = (path for path in folder.glob("*.safetensors") if path.stem in ("model", "adapter_model"))
    return load_file(file)


def log_of(folder: Path, name: str) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry[name] for entry in history if name in entry]


def difference(one, other, start) -> float:
    """How far apart two trainings ended, relative to the way that they went."""
    import torch

    def flat(weights):
        return torch.cat([weights[name].float().flatten() for name in sorted(start)])

    return float((flat(one) - flat(other)).norm() / (flat(other) - flat(start)).norm())
