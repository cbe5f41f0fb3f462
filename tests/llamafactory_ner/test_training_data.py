"""The prompt of what is trained on is stored when training starts, and every record has it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from llamafactory_ner.prompts import FILE_NAME, Prompt
from ner_data.prompt import PromptSpec
from own_corpus import SPEC, said, write_data

pytestmark = pytest.mark.train

NO_LENGTH = {"num_virtual_tokens": None}


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
    wide = replace(SPEC, corpus="wide", max_tokens=128, longest_text=20, several_sentences=True)
    write_data(own, wide, "wide_train", ["失眠"] * 4)
    run_exp(training(dataset="own_train,wide_train"))
    stored = PromptSpec.load(tmp_path / "out" / FILE_NAME)
    assert stored == replace(SPEC, max_tokens=128, longest_text=40, several_sentences=True)


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


def test_data_encoded_earlier_have_no_known_prompt(training, run_exp, tmp_path: Path, capsys) -> None:
    encoded = {"tokenized_path": str(tmp_path / "encoded")}
    run_exp(training(**encoded, max_steps=1))
    assert said(capsys) == []
    shutil.rmtree(tmp_path / "out")
    run_exp(training(**encoded, max_steps=1))
    (line,) = said(capsys)
    assert "the data were encoded earlier, so their prompt is unknown" in line
    assert not (tmp_path / "out" / FILE_NAME).exists()
