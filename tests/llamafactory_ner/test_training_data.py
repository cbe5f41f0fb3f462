"""What is trained on: its prompt is stored when training starts, and records that are cut are counted."""

import json
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llamafactory_ner.prompts import FILE_NAME, Prompt
from llamafactory_ner.training_data import TrainingData
from ner_data.prompt import PromptSpec

pytestmark = pytest.mark.train

LORA = {"finetuning_type": "lora", "num_virtual_tokens": None}
NO_LENGTH = {"num_virtual_tokens": None}
SPEC = PromptSpec("own", "你是助手。", "找出实体。\n文本：", ("药品", "疾病"), "json_list", 64, 40)
COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}


def write_data(folder: Path, spec: PromptSpec | None, name: str, texts: list[str], answer: str = "[]") -> None:
    """What `ner-data alpaca` writes: a training file, its entry in the registry and the prompt spec."""
    system, instruction = (spec.system, spec.instruction) if spec else ("", "说说看：")
    items = [{"system": system, "instruction": instruction, "input": text, "output": answer} for text in texts]
    (folder / f"{name}.json").write_text(json.dumps(items, ensure_ascii=False), "utf-8")
    registry = folder / "dataset_info.json"
    known = json.loads(registry.read_text()) if registry.exists() else {}
    registry.write_text(json.dumps(known | {name: {"file_name": f"{name}.json", "columns": COLUMNS}}))
    if spec:
        spec.save(folder / f"{name.rpartition('_')[0]}.prompt.json")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "alpaca"
    folder.mkdir()
    write_data(folder, SPEC, "own_train", ["头痛", "感冒", "发热", "咳嗽"] * 4)
    return folder


@pytest.fixture
def training(recipe, own: Path):
    """The arguments of a short training on `own`."""

    def build(**changes: object) -> dict[str, object]:
        return recipe(**(LORA | {"dataset_dir": str(own), "dataset": "own_train", "max_steps": 2} | changes))

    return build


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line.removeprefix("llamafactory_ner: ") for line in lines if line.startswith("llamafactory_ner: ")]


def test_the_prompt_is_stored_when_training_starts_whatever_is_written_meanwhile(
    training, run_exp, own: Path, tmp_path: Path, capsys
) -> None:
    from transformers import TrainerCallback

    wanted = (own / "own.prompt.json").read_bytes()
    seen = []

    class MakeDataMeanwhile(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            seen.append((tmp_path / "out" / FILE_NAME).read_bytes())
            write_data(own, replace(SPEC, instruction="另一个。"), "own_train", ["头痛"])

    run_exp(training(save_strategy="steps", save_steps=1), [MakeDataMeanwhile()])
    assert seen == [wanted, wanted]
    assert (tmp_path / "out" / FILE_NAME).read_bytes() == wanted != (own / "own.prompt.json").read_bytes()
    assert [path.read_bytes() for path in (tmp_path / "out").glob(f"checkpoint-*/{FILE_NAME}")] == [wanted] * 2
    assert said(capsys) == []


@pytest.mark.parametrize("change", [{"instruction": "另一个。"}, {"system": "另一个。"}])
def test_a_spec_that_is_not_that_of_the_records_is_refused(change, refused, training, own: Path) -> None:
    replace(SPEC, **change).save(own / "own.prompt.json")
    line = refused(**training() | NO_LENGTH)
    assert "own_train.json: the system text or instruction of 16 of 16 records (the first: record 1) is not" in line
    assert line.endswith("own.prompt.json; run `make data` to write both again")


def test_one_record_with_another_prompt_is_refused(refused, training, own: Path) -> None:
    items = json.loads((own / "own_train.json").read_text("utf-8"))
    items[9]["instruction"] += "请。"
    (own / "own_train.json").write_text(json.dumps(items), "utf-8")
    assert "of 1 of 16 records (the first: record 10)" in refused(**training() | NO_LENGTH)


TWICE = replace(SPEC, again="请再读一遍：")


def test_a_prompt_that_gives_the_text_twice_is_stored(training, run_exp, own: Path, tmp_path: Path) -> None:
    write_data(own, TWICE, "own_train", [TWICE.input(text) for text in ("头痛", "头痛\n发热", "", "\n")] * 4)
    run_exp(training())
    assert PromptSpec.load(tmp_path / "out" / FILE_NAME) == TWICE


@pytest.mark.parametrize("text", ["头痛", "头痛\n发热", "\n", "", "请再读一遍："])
def test_a_record_that_gives_the_text_once_is_refused_if_the_prompt_gives_it_twice(
    refused, training, own: Path, text: str
) -> None:
    write_data(own, TWICE, "own_train", [*[TWICE.input("发热")] * 15, text])
    assert "of 1 of 16 records (the first: record 16)" in refused(**training() | NO_LENGTH)
    prompt = Prompt.read(own / "own.prompt.json")

    def differences(content: str) -> tuple[int, int, int]:
        return prompt.differences([(SPEC.instruction, SPEC.system, [{"content": content}])])

    assert differences(TWICE.user_text(text)) == (1, 0, 0)
    for wrong in (text, f"{text}\n{TWICE.again}", f"{TWICE.input(text)}。", f"{text}。\n{TWICE.again}\n{text}"):
        assert differences(f"{SPEC.instruction}\n{wrong}") == (1, 1, 1)


def test_instructions_for_fewer_labels_that_the_spec_names_are_trained_on(
    training, run_exp, own: Path, tmp_path: Path
) -> None:
    spec = replace(SPEC, fewer=("只找药品。\n文本：", "只找疾病。\n文本："))
    spec.save(own / "own.prompt.json")
    items = json.loads((own / "own_train.json").read_text("utf-8"))
    for item, asked in zip(items, spec.fewer * 5, strict=False):
        item["instruction"] = asked
    (own / "own_train.json").write_text(json.dumps(items), "utf-8")
    run_exp(training())
    assert PromptSpec.load(tmp_path / "out" / FILE_NAME) == spec
    prompt = Prompt.read(own / "own.prompt.json")
    asked = [*spec.fewer, spec.instruction, "只找人名。\n文本：", None]
    records = [(one, spec.system, [{"content": f"{one}\n头痛"}]) for one in asked]
    assert prompt.differences(records) == (5, 2, 4)
    assert {prompt.whole(turns[0]["content"]) for _, _, turns in records[:3]} == {spec.user_text("头痛")}


def test_an_instruction_with_another_line_is_refused(refused, training, own: Path) -> None:
    items = json.loads((own / "own_train.json").read_text("utf-8"))
    for item in items:
        item["instruction"] += "\n只找人名和公司。"
    (own / "own_train.json").write_text(json.dumps(items), "utf-8")
    assert "of 16 of 16 records (the first: record 1)" in refused(**training() | NO_LENGTH)
    assert "of 16 of 16 records" in refused(**training(streaming=True, dataloader_num_workers=1) | NO_LENGTH)


def test_texts_of_several_lines_are_no_other_instruction(training, run_exp, own: Path, tmp_path: Path) -> None:
    write_data(own, SPEC, "own_train", ["头痛\n发热", "\n", "", SPEC.instruction] * 4)
    run_exp(training())
    assert PromptSpec.load(tmp_path / "out" / FILE_NAME) == SPEC


@pytest.mark.parametrize(
    ("before", "after"), [(', "query": "input"', ""), ('"query": "input"', '"query": "input", "tools": "output"')]
)
def test_a_registry_that_has_something_else_asked_is_refused(before, after, refused, training, own: Path) -> None:
    path = own / "dataset_info.json"
    path.write_text(path.read_text().replace(before, after))
    assert "of 16 of 16 records" in refused(**training() | NO_LENGTH)


def test_a_registry_that_hides_the_system_text_is_refused(refused, training, own: Path) -> None:
    path = own / "dataset_info.json"
    path.write_text(path.read_text().replace(', "system": "system"', ""))
    assert "of 16 of 16 records" in refused(**training() | NO_LENGTH)


def test_a_spec_edited_by_hand_is_refused(refused, training, own: Path) -> None:
    path = own / "own.prompt.json"
    path.write_text(path.read_text("utf-8").replace("疾病", "病"), "utf-8")
    assert "own.prompt.json: edited by hand (fingerprint " in refused(**training() | NO_LENGTH)


def test_data_sets_of_one_prompt_are_trained_together_with_the_wider_bounds(
    training, run_exp, own: Path, tmp_path: Path
) -> None:
    wide = replace(SPEC, corpus="wide", max_tokens=128, longest_text=20)
    write_data(own, wide, "wide_train", ["失眠"] * 4)
    run_exp(training(dataset="own_train,wide_train"))
    stored = PromptSpec.load(tmp_path / "out" / FILE_NAME)
    assert (stored.fingerprint, stored.max_tokens, stored.longest_text) == (SPEC.fingerprint, 128, 40)


@pytest.mark.parametrize("use", [{"dataset": "own_train,other_train"}, {"eval_dataset": "other_train"}])
def test_data_sets_of_different_prompts_are_refused(use, refused, training, own: Path) -> None:
    write_data(own, replace(SPEC, labels=("药品",)), "other_train", ["失眠"])
    line = refused(**training(**use) | NO_LENGTH)
    assert "own.prompt.json and " in line and "other.prompt.json are different prompts" in line


def test_data_without_a_spec_are_trained_on_with_one_line(
    training, run_exp, own: Path, tmp_path: Path, capsys
) -> None:
    write_data(own, None, "chat", ["你好"] * 8)
    run_exp(training(dataset="chat"))
    (line,) = said(capsys)
    assert line.startswith(
        "warning: chat.json: no prompt spec (CORPUS.prompt.json) beside the file, so the adapter gets no"
    )
    assert not (tmp_path / "out" / FILE_NAME).exists()
    run_exp(training(dataset="own_train,chat", overwrite_output_dir=True))
    line, *_ = said(capsys)
    assert "chat.json: no prompt spec" in line and "the adapter learns their prompts too" in line
    assert PromptSpec.load(tmp_path / "out" / FILE_NAME) == SPEC
    run_exp(training(dataset="chat", overwrite_output_dir=True))
    assert not (tmp_path / "out" / FILE_NAME).exists()  # that of the adapter before


def test_training_goes_on_from_a_checkpoint_with_the_same_prompt_only(
    training, run_exp, own: Path, tmp_path: Path, capsys
) -> None:
    schedule = {"save_strategy": "steps", "save_steps": 2}
    run_exp(training(**schedule))
    run_exp(training(**schedule, max_steps=4))
    assert json.loads((tmp_path / "out/trainer_state.json").read_text())["global_step"] == 4
    for path in (tmp_path / "out").rglob(FILE_NAME):  # as earlier versions left a checkpoint
        path.rename(path.with_suffix(".kept"))
    run_exp(training(**schedule, max_steps=4))
    line, replaced = said(capsys)
    assert replaced.endswith("out: the adapter there had another prompt, or an unknown one, and is replaced")
    assert line.endswith("checkpoint-4: no ner_prompt.json there; make sure that its prompt was the same")
    for path in (tmp_path / "out").rglob("*.kept"):
        path.rename(path.with_suffix(".json"))
    write_data(own, other := replace(SPEC, instruction="另一个。"), "own_train", ["头痛"] * 16)
    before = (tmp_path / "out/adapter_model.safetensors").read_bytes()
    for named in (
        {},
        {"resume_from_checkpoint": str(tmp_path / "out/checkpoint-2"), "output_dir": str(tmp_path / "b")},
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            run_exp(training(**schedule, max_steps=6) | named)
        (line,) = said(capsys)
        assert f"was trained with another prompt ({SPEC.fingerprint}; " in line and other.fingerprint in line
    assert (tmp_path / "out/adapter_model.safetensors").read_bytes() == before
    assert PromptSpec.load(tmp_path / "out" / FILE_NAME) == SPEC


def test_overwriting_never_leaves_old_weights_with_the_new_prompt(
    training, run_exp, own: Path, tmp_path: Path, capsys
) -> None:
    from transformers import TrainerCallback

    class Killed(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            raise KeyboardInterrupt

    run_exp(training())
    weights = tmp_path / "out/adapter_model.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run_exp(training(overwrite_output_dir=True), [Killed()])
    assert weights.exists()  # the prompt is the same
    write_data(own, other := replace(SPEC, instruction="另一个。"), "own_train", ["头痛"] * 16)
    with pytest.raises(KeyboardInterrupt):
        run_exp(training(overwrite_output_dir=True), [Killed()])
    assert not weights.exists() and PromptSpec.load(tmp_path / "out" / FILE_NAME) == other
    assert any(
        "the adapter there had another prompt, or an unknown one, and is replaced" in line for line in said(capsys)
    )


def test_an_adapter_trained_further_with_another_prompt_is_warned_of(
    training, run_exp, own: Path, tmp_path: Path, capsys
) -> None:
    run_exp(training(output_dir=str(tmp_path / "first")))
    write_data(own, replace(SPEC, instruction="另一个。"), "own_train", ["头痛"] * 16)
    run_exp(training(adapter_name_or_path=str(tmp_path / "first")))
    (line,) = said(capsys)
    assert "first was trained with another prompt than " in line


# --- records that are cut ------------------------------------------------------------------------------------------


def encoded(args: dict[str, Any]) -> list[int]:
    """The tokens of each record of the training part, as llamafactory encodes it."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    model_args, data_args, training_args, *_ = get_train_args(args)
    module = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
    data = get_dataset(template, model_args, data_args, training_args, stage="sft", **module)["train_dataset"]
    assert not [name for name in data.column_names if "ner" in name]
    return [len(ids) for ids in data["input_ids"]]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"preprocessing_num_workers": 3, "preprocessing_batch_size": 7},
        {"val_size": 0.25},
        {"packing": True},
        {"overwrite_cache": False},
        {"train_on_prompt": True},
    ],
    ids=lambda how: "-".join(how) or "plain",
)
def test_records_that_are_cut_are_counted_exactly(how, training, run_exp, own: Path, capsys) -> None:
    rng = random.Random(1)
    write_data(own, SPEC, "own_train", ["痛" * rng.randrange(1, 60) for _ in range(100)])
    whole = encoded(training(cutoff_len=100_000))
    cutoff = sorted(whole)[80]
    one = 1 if how.get("packing") else 0  # llamafactory keeps a token for itself
    expected = sum(length > cutoff - one for length in whole)
    assert 10 < expected < 30
    lengths = []
    for _ in range(2):  # the second time from the cache, if that is allowed
        with TrainingData().watched():
            lengths.append(encoded(training(cutoff_len=cutoff, **how)))
        (line,) = said(capsys)
        allowed = f"more tokens than cutoff_len allows ({cutoff - one}) and are cut"
        assert f"own_train.json: {expected} of 100 records have {allowed}; " in line
        assert f"set cutoff_len={max(whole) + one}, " in line
    assert lengths[0] == lengths[1] == encoded(training(cutoff_len=cutoff, **how))
    with TrainingData().watched():
        encoded(training(cutoff_len=max(whole) + one, **how))
    assert said(capsys) == []


def test_cut_records_are_said_before_training(training, run_exp, own: Path, capsys) -> None:
    write_data(own, SPEC, "own_train", ["痛" * 50] * 3 + ["痛"] * 5)
    run_exp(training(cutoff_len=150, max_steps=1, preprocessing_num_workers=2))
    (line,) = said(capsys)
    assert (
        "own_train.json: 3 of 8 records have more tokens than cutoff_len allows (150) and are cut; set cutoff_len="
        in line
    )


def test_cut_records_are_counted_for_each_data_set(training, run_exp, own: Path, capsys) -> None:
    write_data(own, SPEC, "own_dev", ["痛" * 50] * 3 + ["痛"] * 5)
    write_data(own, SPEC, "own_more", ["痛" * 50] * 2 + ["痛"] * 6)
    run_exp(training(dataset="own_train,own_more", eval_dataset="own_dev", cutoff_len=150, max_steps=1))
    found = {(Path(line.split(": ")[1]).name, line.split(": ")[2].split(" have")[0]) for line in said(capsys)}
    assert found == {("own_dev.json", "3 of 8 records"), ("own_more.json", "2 of 8 records")}


def test_records_that_lose_their_whole_answer_are_named(training, run_exp, own: Path, capsys) -> None:
    write_data(own, SPEC, "own_train", ["痛" * 400] * 2 + ["痛"] * 14, answer="[]" * 4)
    run_exp(training(cutoff_len=18, max_steps=1))
    (line,) = said(capsys)
    assert "16 of 16 records have more tokens" in line
    gone = re.search(r"and are cut \((\d+) of them lose the whole answer\); ", line)
    assert gone and int(gone[1]) == 2


def test_records_without_an_answer_are_counted(training, run_exp, own: Path, capsys) -> None:
    items = json.loads((own / "own_train.json").read_text("utf-8"))
    items[3]["output"] = None
    (own / "own_train.json").write_text(json.dumps(items), "utf-8")
    run_exp(training(max_steps=1))
    (line,) = said(capsys)
    assert line.endswith("own_train.json: 1 of 16 records are left out: they lack a question or an answer")


def test_what_is_trained_on_is_the_same_with_and_without_counting(
    training, run_exp, own: Path, tmp_path: Path
) -> None:
    from llamafactory_ner import training_data

    write_data(own, SPEC, "own_train", ["痛" * length for length in range(1, 65)])
    losses = []
    for name in ("counted", "plain"):
        with pytest.MonkeyPatch.context() as patch:
            if name == "plain":
                patch.setattr(training_data, "counting", lambda original: original)
            run_exp(training(cutoff_len=120, output_dir=str(tmp_path / name), max_steps=4))
        state = json.loads((tmp_path / name / "trainer_state.json").read_text())
        losses.append([entry["loss"] for entry in state["log_history"] if "loss" in entry])
    assert len(losses[0]) == 4 and losses[0] == losses[1]


def test_data_encoded_earlier_have_no_known_prompt(training, run_exp, tmp_path: Path, capsys) -> None:
    encoded = {"tokenized_path": str(tmp_path / "encoded")}
    run_exp(training(**encoded, max_steps=1))
    assert said(capsys) == []
    shutil.rmtree(tmp_path / "out")
    run_exp(training(**encoded, max_steps=1))
    (line,) = said(capsys)
    assert "the data were encoded earlier, so their prompt is unknown" in line
    assert not (tmp_path / "out" / FILE_NAME).exists()
