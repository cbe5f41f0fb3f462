"""Which states of a training can be chosen, and the folders that are refused, each in one line."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_common.training_record import load_training_record
from ner_data.prompt import PromptSpec
from ner_eval.checkpoints.candidates import Candidate, candidates
from ner_eval.select import to_serve
from trained import ADAPTER, write_folder, write_state, write_training, write_weights

LAST = ADAPTER / "checkpoint-200"


def found(adapter: Path = ADAPTER) -> list[Candidate]:
    return candidates(adapter, load_training_record(adapter, ""), PromptSpec.load(adapter / "ner_prompt.json"))


def test_checkpoints_come_by_step_with_epoch_and_held_out_loss(workplace: Path) -> None:
    write_training(steps=(100, 200, 1000))
    facts = [(one.name, one.step, one.epoch, one.loss) for one in found()]
    assert facts == [
        ("checkpoint-100", 100, 0.5, 0.4), ("checkpoint-200", 200, 1.0, 0.2), ("checkpoint-1000", 1000, 5.0, 0.04),
    ]  # fmt: skip


def test_a_last_state_that_no_checkpoint_holds_is_one_more(workplace: Path) -> None:
    write_training()
    write_weights(ADAPTER / "adapter_model.safetensors", 7)
    assert [(one.name, one.folder) for one in found()][-1] == ("checkpoint-final", ADAPTER)


def test_losses_that_are_not_numbers_do_not_matter(workplace: Path) -> None:
    write_training()
    for folder in (ADAPTER, *ADAPTER.glob("checkpoint-*")):
        text = (folder / "trainer_state.json").read_text()
        (folder / "trainer_state.json").write_text(text.replace('"grad_norm": 1.5', '"grad_norm": NaN'))
    assert len(found()) == 3


def test_a_fully_fine_tuned_model_is_refused_with_what_to_do(workplace: Path) -> None:
    write_training()
    (ADAPTER / "adapter_config.json").rename(ADAPTER / "config.json")
    with pytest.raises(UserError) as caught:
        found()
    assert str(caught.value) == (
        f"{ADAPTER}: a whole model, and one server cannot hold all its checkpoints; "
        "evaluate them one by one: make serve eval ADAPTER=…/checkpoint-N"
    )


def no_checkpoints(spec: PromptSpec) -> None:
    for folder in ADAPTER.glob("checkpoint-*"):
        shutil.rmtree(folder)


def one_state(spec: PromptSpec) -> None:
    for step in (100, 200):
        shutil.rmtree(ADAPTER / f"checkpoint-{step}")


def config(**changes: object) -> Callable[[PromptSpec], None]:
    def change(spec: PromptSpec) -> None:
        path = LAST / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def other_prompt(spec: PromptSpec) -> None:
    PromptSpec("demo", "你好", "抽取", ("name",), "json_list", 64).save(LAST / "ner_prompt.json")


def write(name: str, data: bytes) -> Callable[[PromptSpec], None]:
    return lambda spec: (LAST / name).write_bytes(data) and None


def remove(folder: Path, name: str) -> Callable[[PromptSpec], None]:
    return lambda spec: (folder / name).unlink()


REFUSED: dict[str, tuple[Callable[[PromptSpec], None], str]] = {
    "no checkpoints": (no_checkpoints, "has no checkpoints to choose from; train with more of them"),
    "one state": (one_state, "has one state only"),
    "another base": (config(base_model_name_or_path="models/qwen"), "base_model_name_or_path is 'models/qwen' there"),
    "another rank": (config(r=16), "r is 16 there, 8 in adapter_config.json of the adapter"),
    "another kind": (config(peft_type="PREFIX_TUNING"), "peft_type is 'PREFIX_TUNING' there"),
    "more modules": (config(target_modules=["k_proj", "q_proj", "v_proj"]), "target_modules is"),
    "other shapes": (lambda spec: write_weights(LAST / "adapter_model.safetensors", 5, width=5), "has other tensors"),
    "another prompt": (other_prompt, "it has another prompt"),
    "damaged prompt": (write("ner_prompt.json", b"{"), "ner_prompt.json:1: not JSON"),
    "another training": (lambda spec: write_state(LAST, 200, log_history=[{"step": 100, "loss": 9}]), "other losses"),
    "another step": (lambda spec: write_state(LAST, 100), "says step 100"),
    "no weights": (remove(LAST, "adapter_model.safetensors"), "lacks adapter_model.safetensors"),
    "no state": (remove(LAST, "trainer_state.json"), "lacks trainer_state.json"),
    "no state of the whole": (remove(ADAPTER, "trainer_state.json"), "trainer_state.json: no such file"),
    "no config": (remove(LAST, "adapter_config.json"), "lacks adapter_config.json"),
    "cut weights": (write("adapter_model.safetensors", b"\x40" + b"\0" * 20), "truncated"),
    "config is a list": (write("adapter_config.json", b"[]"), "expected object"),
    "config is deep": (write("adapter_config.json", b"[" * 999), "nested more than"),
    "state is not one": (write("trainer_state.json", b'{"global_step": "200"}'), "global_step: expected int, got str"),
    "state is hostile": (write("trainer_state.json", b'{"global_step": 1' + b"0" * 400 + b"}"), "not the state"),
    "unfinished": (remove(ADAPTER, "adapter_model.safetensors"), "holds no trained adapter; finish the training"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused(case: str, workplace: Path, ner_eval) -> None:
    change, message = REFUSED[case]
    change(write_training())
    ended = ner_eval("select", ADAPTER, "--list")
    assert ended.code == 2 and ended.out == ""
    (line,) = ended.err.splitlines()
    assert message in line


def test_an_encoder_is_part_of_a_soft_prompts_checkpoint(workplace: Path, ner_eval) -> None:
    write_training(encoder=True)
    (LAST / "prompt_encoder.safetensors").unlink()
    ended = ner_eval("select", ADAPTER, "--list")
    assert ended.code == 2 and "lacks prompt_encoder.safetensors" in ended.lines[0]


def test_the_order_of_names_in_a_configuration_has_no_meaning(workplace: Path) -> None:
    write_training()
    config(target_modules=["k_proj", "q_proj"])(PromptSpec.load(ADAPTER / "ner_prompt.json"))
    assert len(found()) == 3


def test_other_folders_are_no_checkpoints(workplace: Path) -> None:
    spec = write_training()
    write_folder(ADAPTER / "checkpoint-0100", spec, 4, 100)
    (ADAPTER / "checkpoint-7").write_text("a file")
    (ADAPTER / "tmp-checkpoint-400").mkdir()
    assert [one.step for one in found()] == [100, 200, 300]


FILES = (
    "adapter_config.json", "trainer_state.json", "ner_prompt.json", "adapter_model.safetensors", "ner_held_out.json",
    "ner_training.json",
)  # fmt: skip


def edited(data: bytes, rng: random.Random) -> bytes:
    """A file after a slip of the hand or of the disk."""
    at, to = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    part = rng.choice([b"", b"null", b"-1", b'"x"', b"[", b"{}", b"1e999", b"NaN", rng.randbytes(rng.randrange(1, 9))])
    return data[:at] + part + data[rng.choice([at, to]) :]


@pytest.mark.parametrize("tried", [400, pytest.param(8000, marks=pytest.mark.slow)])
def test_edited_files_are_read_rightly_or_refused_in_one_line(tried: int, workplace: Path) -> None:
    write_training(encoder=True)
    rng = random.Random(0)
    files = [folder / name for folder in (ADAPTER, LAST) for name in FILES if (folder / name).is_file()]
    assert len(files) == 10
    before = to_serve(ADAPTER)
    refused = read = 0
    for _ in range(tried):
        path = rng.choice(files)
        whole = path.read_bytes()
        path.write_bytes(edited(whole, rng))
        try:
            # No edit hides a checkpoint; other weights in the adapter's folder are one state more.
            assert set(before) <= set(to_serve(ADAPTER))
            read += 1
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
            refused += 1
        path.write_bytes(whole)
    assert refused + read == tried and refused > tried / 2 > read > 0
    assert to_serve(ADAPTER) == before
