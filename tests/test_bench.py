"""What the benchmarks count and compare."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import floor, training
from bench.floor import Sizes, Work
from support import ROOT

IGNORED = -100
PREFIX, RESTS = 40, (7, 2, 5)


def records() -> list[tuple[list[int], list[int]]]:
    """Three records with a common prefix, whose last two tokens carry a loss, and one that shares nothing."""
    encoded = [
        [*range(PREFIX), *(1000 * (number + 1) + at for at in range(rest))] for number, rest in enumerate(RESTS)
    ]
    encoded.append(list(range(5000, 5009)))
    return [(ids, [IGNORED] * (len(ids) - 2) + ids[-2:]) for ids in encoded]


def test_the_work_of_a_step_is_its_distinct_tokens_and_what_they_see() -> None:
    seen: dict[tuple[int, ...], int] = {}  # a token with all before it -> how many it sees, itself included
    for ids, _ in records():
        seen |= {tuple(ids[: at + 1]): at + 1 for at in range(len(ids))}
    assert floor.work(records()) == Work(len(seen), sum(seen.values()), 2 * len(records()))
    assert len(seen) == PREFIX + sum(RESTS) + 9


def test_whole_steps_are_counted() -> None:
    assert [len(part) for part in floor.steps_of(records(), 2)] == [2, 2]
    assert [len(part) for part in floor.steps_of(records(), 3)] == [3]


def test_the_sizes_of_nano_are_those_of_its_tensors() -> None:
    data = (ROOT / "data/nano/model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    shapes = {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}
    found = floor.sizes(ROOT / "data/nano")
    linear = [tuple(shape) for name, shape in shapes.items() if name.endswith("_proj.weight")]
    assert sorted(linear) == sorted(found.shapes * found.layers)
    assert found.weights == sum(outputs * inputs for outputs, inputs in linear)
    assert tuple(shapes["model.embed_tokens.weight"]) == (found.vocabulary, found.hidden)


@pytest.mark.train
def test_the_operations_are_those_that_torch_counts() -> None:
    """Frozen weights, the gradient of the input, all positions with a label, and a full square of attention."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(ROOT / "data/nano", attn_implementation="eager").requires_grad_(False)
    ids, tokens = torch.arange(96)[None], 96
    states = model.get_input_embeddings()(ids).requires_grad_()
    with FlopCounterMode(display=False) as counter:
        model(inputs_embeds=states).logits.sum().backward()
    expected = floor.operations(floor.sizes(ROOT / "data/nano"), Work(tokens, tokens * tokens, tokens))
    assert counter.get_total_flops() == pytest.approx(expected, rel=1e-3)


@pytest.mark.train
def test_the_rate_is_measured_at_the_shapes_of_the_model() -> None:
    rate = floor.matrix_rate(Sizes(2, 64, 256, 64, ((64, 64), (128, 64))), Work(50, 0, 8), "float32", seconds=0.05)
    assert 1e6 < rate < 1e13


RESULT: dict[str, Any] = {
    "stock": {"memory_gb": 2.0}, "ours": {"memory_gb": 1.5}, "speedup": 4.5, "least_speedup": 4.0,
    "loss_difference": 1e-5, "tolerance": 1e-3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"loss_difference": 0.5}, ["the loss curves differ by 50.00% (at most 0.10%)"]),
        ({"speedup": 3.9}, ["3.90 times as fast (at least 4.0)"]),
        ({"ours": {"memory_gb": 2.25}}, ["2.25 GB of memory (at most 2.00)"]),
    ],
)
def test_a_bound_that_is_missed_is_named(changes: dict[str, Any], said: list[str]) -> None:
    assert training.failures(RESULT | changes) == said


def test_loss_curves_are_compared_step_by_step() -> None:
    assert training.largest_difference([2.0, 1.0], [2.0, 1.1]) == pytest.approx(0.1)
    assert training.largest_difference([2.0, 1.0], [2.0]) == training.largest_difference([], []) == float("inf")
    assert training.largest_difference([2.0, float("nan")], [2.0, float("nan")]) == float("inf")


def test_both_train_on_the_same_but_for_how_records_are_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["training.py", "--steps", "3", "lora_rank=16", "learning_rate=2.0e-4"])
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    given = training.settings(training.arguments(), Path("data/nano"), "float32")
    stock, ours = given["stock"], given["ours"]
    differing = {key for key in stock | ours if stock.get(key) != ours.get(key)}
    assert differing == {"share_prompt", "per_device_train_batch_size", "gradient_accumulation_steps"}
    for one in (stock, ours):
        assert one["per_device_train_batch_size"] * one["gradient_accumulation_steps"] == training.RECORDS
        assert (one["max_samples"], one["lora_rank"], one["learning_rate"]) == (96, 16, 2e-4)
    json.dumps(given)
