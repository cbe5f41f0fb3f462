"""What cannot work is said in one line, with exit status 2, before any model loads."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.train


@pytest.fixture
def refused(run_exp, recipe, capsys, monkeypatch):
    """The one line that a recipe is refused with; loading a model would fail the test."""
    from llamafactory.model import loader

    def load_config(*_args, **_kwargs):
        raise AssertionError("the model was being loaded")

    monkeypatch.setattr(loader, "load_config", load_config)

    def run(**overrides) -> str:
        with pytest.raises(SystemExit) as stopped:
            run_exp(recipe(**overrides))
        assert stopped.value.code == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("llamafactory_ner: ")]
        assert len(lines) == 1
        return lines[0]

    return run


@pytest.mark.parametrize("method", ["p_tuning", "prefix_tuning"])
@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ({"lora_rank": 8}, "lora_rank"),
        ({"lora_target": "all", "use_dora": True}, "lora_target, use_dora"),
        ({"create_new_adapter": True}, "create_new_adapter"),
        ({"freeze_trainable_layers": 2}, "freeze_trainable_layers"),
        ({"packing": True}, "packing"),
        ({"neat_packing": True}, "neat_packing"),
        ({"use_galore": True}, "use_galore"),
        ({"use_unsloth": True}, "use_unsloth"),
        ({"stage": "dpo"}, "stage dpo"),
        ({"num_virtual_tokens": 0}, "num_virtual_tokens: 0"),
        ({"pre_seq_len": 9}, "two names of one number"),
        ({"num_virtual_tokens": 900}, "num_virtual_tokens 900 + cutoff_len 512 is more than the 1024 positions"),
        ({"export_dir": "merged"}, "ner-model export"),
        ({"deepspeed": '{"zero_optimization": {"stage": 3}}'}, "ZeRO-2"),
    ],
)
def test_arguments_that_do_not_act_on_a_soft_prompt_are_named(method, argument, named, refused) -> None:
    assert named in refused(finetuning_type=method, **argument)


def test_all_problems_are_named_at_once(refused) -> None:
    line = refused(finetuning_type="p_tuning", lora_rank=8, packing=True, prefix_projection=True)
    assert "lora_rank" in line and "packing" in line and "prefix_projection" in line


def test_an_mlp_width_without_an_mlp_is_refused(refused) -> None:
    assert "prefix_projection: true" in refused(finetuning_type="prefix_tuning", prompt_encoder_hidden_size=16)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_soft_prompt_arguments_for_another_method_are_refused(method, refused) -> None:
    line = refused(finetuning_type=method, num_virtual_tokens=None, pre_seq_len=16)
    assert "pre_seq_len: only for finetuning_type p_tuning or prefix_tuning" in line


def write_adapter(folder: Path, **changes: object) -> str:
    folder.mkdir()
    config = {"peft_type": "P_TUNING", "num_virtual_tokens": 7, "num_layers": 3, "token_dim": 48}
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    return str(folder)


def test_an_adapter_of_another_method_is_refused_and_named(refused, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a")
    assert "is a p_tuning adapter: set finetuning_type: p_tuning" in refused(
        finetuning_type="lora", num_virtual_tokens=None, adapter_name_or_path=adapter
    )
    assert "is a p_tuning adapter" in refused(finetuning_type="prefix_tuning", adapter_name_or_path=adapter)


def test_an_adapter_of_another_base_is_refused(refused, tmp_path: Path) -> None:
    layers = write_adapter(tmp_path / "layers", num_layers=28)
    assert "layers 28, not 3" in refused(finetuning_type="p_tuning", adapter_name_or_path=layers)
    width = write_adapter(tmp_path / "width", peft_type="PREFIX_TUNING", token_dim=48)
    assert "width 48, not 24" in refused(finetuning_type="prefix_tuning", adapter_name_or_path=width)


def test_an_adapter_of_another_length_is_refused(refused, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a")
    line = refused(finetuning_type="p_tuning", num_virtual_tokens=8, adapter_name_or_path=adapter)
    assert "has 7 virtual tokens, not 8" in line


def test_training_on_from_an_adapter_without_its_encoder_is_refused(refused, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a")
    assert "prompt_encoder.safetensors" in refused(finetuning_type="p_tuning", adapter_name_or_path=adapter)
