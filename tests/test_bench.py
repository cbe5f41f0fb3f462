"""What the benchmarks count and compare."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import floor, training
from bench.floor import Sizes, Work
from make_support import link, link_environments, make
from ner_data.gold import Entity, read_gold
from ner_eval.confidence.tokens import certainty
from ner_eval.runs.predictions import read_predictions
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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_really_train_to_equal_losses_and_the_result_is_drawn(checkout: Path, chain: Path) -> None:
    """Two steps of each: enough for equal curves, too few to time; so a bound of the speed may be missed."""
    link(checkout, "data/nano", "tests/bench")
    link_environments(checkout)
    shutil.copytree(chain / "data/alpaca", checkout / "data/alpaca")
    options = ["MODEL=nano", "CORPUS=demo", "ACCELERATOR=cpu", "PYTHON=false"]
    done = make(
        "bench-train", *options, "ARGS=--steps 2 --rounds 1 --micro-batch 8 --out out", folder=checkout, timeout=800
    )
    assert "differs: share_prompt: None (stock), True (ours)" in done.stdout, done.stdout + done.stderr
    assert f"missed: the {training.CURVE}" not in done.stdout
    result = json.loads((checkout / "out/bench-train-nano-demo.json").read_text())
    assert len(result["stock"]["losses"]) == len(result["ours"]["losses"]) == 2
    assert result["ours"]["tokens_per_record"] < 0.6 * result["stock"]["tokens_per_record"]
    assert result["floor"]["seconds"] > 0 and result["loss_difference"] < result["tolerance"]
    assert (checkout / "out/bench-train-nano-demo.png").read_bytes()[:4] == b"\x89PNG"


WALK = "--model nano --corpus demo --split test --limit 20 --start 60 --pool 40 --step 20 -- num_train_epochs=6"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_walk_corrects_what_the_model_is_least_sure_of_and_a_second_start_trains_nothing(
    checkout: Path, chain: Path
) -> None:
    link(checkout, "data/nano", "tests/bench")
    link_environments(checkout)
    for name, source in (("data/corpora", ROOT), ("data/gold/demo", chain), ("data/alpaca", chain)):
        shutil.copytree(source / name, checkout / name)

    def said() -> list[str]:
        words = [".venv/bin/python", "tests/bench/correction.py", *WALK.split()]
        done = subprocess.run(words, cwd=checkout, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    def gold(name: str, split: str = "train") -> dict[str, tuple[Entity, ...]]:
        return {record.text: record.gold for record in read_gold(checkout / f"data/gold/{name}/{split}.jsonl")}

    lines = said()
    assert [line.split("  micro F1 ")[0].split() for line in lines if "micro F1" in line] == [
        ["first", "60", "sentences"],
        ["least", "certain", "80", "sentences"],
        ["random", "80", "sentences"],
    ]
    first, corrected, drawn = gold("walk"), gold("walk-least-certain-1"), gold("walk-random-1")
    assert (len(first), len(corrected), len(drawn)) == (60, 80, 80)
    assert first.items() <= corrected.items() <= gold("demo").items() and first.items() <= drawn.items()
    ranked = sorted(read_predictions(checkout / "runs/walk-on-walk-new-dev"), key=lambda one: certainty(one.tokens))
    texts = {record.id: record.text for record in read_gold(checkout / "data/gold/walk-new/dev.jsonl")}
    assert len(ranked) == 40 and corrected.keys() - first.keys() == {texts[one.id] for one in ranked[:20]}
    results = [json.loads(path.read_text("utf-8")) for path in checkout.glob("recipes/nano/results/walk*-test.json")]
    # A tenth of the sentences is held out.
    assert sorted((result["training_records"], result["curve"]) for result in results) == [
        (54, "least certain; random"),
        (72, "least certain"),
        (72, "random"),
    ]
    trained = {path: path.stat().st_mtime_ns for path in checkout.glob("saves/nano/lora/walk*/adapter_model.*")}
    assert len(trained) == 3 and said() == lines
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
