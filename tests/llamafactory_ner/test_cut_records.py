"""Records that are longer than cutoff_len, or lack an answer, are counted and said before the training."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from llamafactory_ner.training_data import TrainingData
from own_corpus import SPEC, said, write_data

pytestmark = pytest.mark.train


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
