"""The plan of a training on several GPUs, and of the server after it: what each of them holds."""

import shutil
from pathlib import Path

import pytest

from ner_common.machine import NumberFormat
from ner_models.planning import cards, estimate
from ner_models.planning.cards import card_named, processes_here
from ner_models.planning.estimate import Plan, plan
from ner_models.planning.sharding import Sharding, sharding_of
from support import ROOT

STATE = "trained numbers, gradients, Adam"
ZERO = 'deepspeed={{"zero_optimization": {{"stage": {}}}}}'
FULL = 7_615_616_512  # trained numbers of qwen2-7b/full


@pytest.fixture(autouse=True)
def recipes(workplace: Path) -> None:
    shutil.copytree(ROOT / "recipes", workplace / "recipes")


def planned(recipe: str, *overrides: str, gpus: int | None = None) -> Plan:
    return plan(Path(f"recipes/{recipe}.yaml"), overrides, card_named("A100"), gpus=gpus)


@pytest.mark.parametrize(
    ("spread", "weights", "state"),
    [
        ((), 4, 12),
        ((ZERO.format(0),), 2, 14),
        ((ZERO.format(1),), 2, 2 + 12 / 8),
        ((ZERO.format(2),), 2, (2 + 12) / 8),
        (("deepspeed=recipes/deepspeed/z2.json",), 2, (2 + 12) / 8),
        (("deepspeed=recipes/deepspeed/z3.json",), 2 / 8, (2 + 12) / 8),
        (("fsdp=[shard_grad_op,auto_wrap]",), 4, 12 / 8),
        (("fsdp=[full_shard,auto_wrap]", "fsdp_config=recipes/fsdp.json"), 4 / 8, 12 / 8),
        (("deepspeed=recipes/deepspeed/z3.json", "bf16=false"), 4 / 8, 12 / 8),
    ],
)
def test_each_gpu_holds_its_share_of_what_the_recipe_spreads(
    spread: tuple[str, ...], weights: float, state: float
) -> None:
    """Figure 1 of the ZeRO paper: 16 bytes for each number, and which of them are divided."""
    found = planned("qwen2-7b/full", *spread, gpus=8)
    assert found.parts[STATE] == pytest.approx(state * FULL, rel=1e-6)
    layer = found.parts["weights"] - weights * FULL
    assert layer == pytest.approx(0, abs=8) or (weights < 1 and 0 < layer < 4 * 152064 * 3584 + 8)
    assert found.sharding.processes == 8


def test_a_recipe_that_spreads_nothing_holds_all_on_each_gpu_and_takes_fewer_steps() -> None:
    one, eight = planned("qwen2-7b/lora"), planned("qwen2-7b/lora", gpus=8)
    assert (one.sharding.processes, one.steps, eight.steps) == (1, 3 * 303, 3 * 38)
    assert one.parts[STATE] == eight.parts[STATE] and one.parts["weights"] == eight.parts["weights"]


def test_the_plan_says_of_how_many_gpus_it_is(cli) -> None:
    def last(*words: str) -> str:
        done = cli("ner-model", "plan", "recipes/qwen2-7b/full.yaml", "--card", "RTX 4090", *words)
        assert done.code == 0, done.err
        return done.out.splitlines()[-1]

    zero = "deepspeed=recipes/deepspeed/z3.json"
    assert "of one RTX 4090; " in last() and "it does not fit: METHOD=lora" in last()
    assert "it does not fit: --gpus N, if it is spread over N; METHOD=lora" in last(zero)
    assert "of each of 2 RTX 4090; " in last("--gpus", "2")
    assert f"it does not fit: {zero}; METHOD=lora" in last("--gpus", "2")
    assert "does not fit" not in last("--gpus", "16", zero)
    assert "--gpus" in cli("ner-model", "plan", "recipes/qwen2-7b/full.yaml", "--gpus", "0").err


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 4), ({"CUDA_VISIBLE_DEVICES": "0,2"}, 2), ({"CUDA_VISIBLE_DEVICES": ""}, 1), ({"NPROC_PER_NODE": "3"}, 3),
        ({"NNODES": "2"}, 8), ({"NNODES": "1:4"}, 4),
    ],
)  # fmt: skip
def test_a_training_here_takes_all_gpus(
    variables: dict[str, str], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nvidia-smi says is injected: this machine has no GPU."""
    said = "NVIDIA A100-SXM4-80GB, 81920\n" * 4
    monkeypatch.setattr(cards, "output_of", lambda *command: said.strip())
    for name in ("CUDA_VISIBLE_DEVICES", "NPROC_PER_NODE", "NNODES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert processes_here() == count
    assert plan(Path("recipes/qwen2-7b/lora.yaml")).sharding.processes == count


def test_fsdp_that_is_switched_off_spreads_nothing() -> None:
    for fsdp in ("", "false", False, [], "no_shard", None):
        assert sharding_of({"fsdp": fsdp}, 2) == Sharding(2), fsdp


@pytest.mark.parametrize(("card", "dtype", "each"), [("A100", "float32", 4), ("A100", "auto", 2), ("cpu", "auto", 2)])
def test_the_server_is_planned_in_the_format_that_it_serves_in(
    card: str, dtype: str, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the training is in: float32 here, which on a CPU with bfloat16 says nothing of the server."""
    monkeypatch.setattr("ner_models.serving.command.cpu_number_format", lambda: NumberFormat("bfloat16", "its CPU"))
    monkeypatch.setattr(estimate, "cpu_number_format", lambda: NumberFormat("bfloat16", "its CPU"))
    path = Path("recipes/qwen2-7b/model.yaml")
    path.write_text(path.read_text("utf-8").replace("dtype: auto", f"dtype: {dtype}"), "utf-8")
    found = plan(Path("recipes/qwen2-7b/lora.yaml"), ["bf16=false"], card_named(card))
    assert found.method.number == 4
    token = 2 * found.shape.num_hidden_layers * found.shape.narrow * each
    held = found.shape.parameters * each
    room = (1 << 30) if card == "cpu" else max(int(found.card.memory * 0.9) - held, 0)
    assert found.cached == room // token
    assert found.server >= held + room
    # In training too, a model that is not there yet is no small one.
    assert plan(Path("recipes/qwen2-7b/lora.yaml"), (), card_named(card)).method.number == 2
