"""The records that a training held out: found by id and text, or refused in one line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ner_common.held_out import read_held_out, write_held_out
from ner_common.training_record import load_training_record, write_training_record
from ner_data.corpus import load_corpus
from ner_data.gold import read_gold, write_gold
from ner_data.prompt import PromptSpec
from ner_eval.checkpoints.held_out import held_out_records
from trained import ADAPTER, ARGUMENTS, write_training


def test_they_come_with_their_gold_in_the_order_of_its_file(workplace: Path) -> None:
    spec = write_training(held_out=5)
    records = held_out_records(ADAPTER, load_training_record(ADAPTER, ""), spec)
    assert [record.id for record in records] == [f"t-{n}" for n in range(35, 40)]
    assert all(record.gold for record in records)


def unrecorded(**arguments: Any) -> Callable[[PromptSpec], None]:
    """A training that has recorded no held-out records, with these arguments."""

    def change(spec: PromptSpec) -> None:
        (ADAPTER / "ner_held_out.json").unlink()
        write_training_record(ADAPTER, None, {**ARGUMENTS, **arguments}, ())

    return change


def recorded(**changes: Any) -> Callable[[PromptSpec], None]:
    def change(spec: PromptSpec) -> None:
        path = ADAPTER / "ner_held_out.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def gold(edit: Callable[[list[Any]], list[Any]]) -> Callable[[PromptSpec], None]:
    def change(spec: PromptSpec) -> None:
        path = load_corpus("demo").gold_file("train")
        write_gold(path, edit(list(read_gold(path))))

    return change


def other_spec(spec: PromptSpec) -> None:
    replace(spec, instruction="请抽取：\n文本：").save(ADAPTER / "ner_prompt.json")
    for folder in ADAPTER.glob("checkpoint-*"):
        (folder / "ner_prompt.json").write_bytes((ADAPTER / "ner_prompt.json").read_bytes())


REFUSED: dict[str, tuple[Callable[[PromptSpec], None], str]] = {
    "no val_size": (unrecorded(val_size=0), "held out no records (no val_size)"),
    "no val_size at all": (unrecorded(val_size=None), "held out no records (no val_size)"),
    "eval_dataset": (unrecorded(eval_dataset="demo_dev", val_size=0), "a data set of its own (eval_dataset)"),
    "streaming": (unrecorded(streaming=True, val_size=100), "trained with streaming"),
    "tokenized": (unrecorded(tokenized_path="cache/x"), "encoded earlier (tokenized_path)"),
    "several, unrecorded": (unrecorded(dataset="demo_train,tcm_train"), "several data sets"),
    "earlier version": (unrecorded(), "trained by an earlier version"),
    "several": (recorded(datasets=["demo_train", "tcm_train"]), "several data sets ('demo_train', 'tcm_train')"),
    "another split": (recorded(datasets=["demo_dev"]), "which is not the train split of demo"),
    "edited": (recorded(records=["t-1", "t-1"]), "records: one of them is a duplicate"),
    "unknown field": (recorded(more=1), "unknown field more"),
    "one record less": (recorded(records=["t-39"]), "has other texts than the 1 records"),
    "records are gone": (
        gold(lambda records: records[:35]),
        "lacks 5 of the 10 records that the training held out ('t-39')",
    ),
    "texts are others": (gold(lambda records: [*records[1:], _renamed(records[0], "t-0")]), ""),
    "a text is another": (gold(lambda records: [*records[:-1], _renamed(records[0], "t-39")]), "has other texts"),
    "no gold": (gold(lambda records: [_without_gold(record) for record in records]), "lacks 10 of the 10"),
    "another instruction": (other_spec, "has other texts"),
    "no record": (lambda spec: (ADAPTER / "ner_training.json").unlink(), "ner_training.json: no such file; train it"),
    "no prompt": (lambda spec: (ADAPTER / "ner_prompt.json").unlink(), "ner_prompt.json: no such file; train it"),
}


def _renamed(record: Any, id: str) -> Any:
    return type(record)(id, record.text, record.entities)


def _without_gold(record: Any) -> Any:
    return type(record)(record.id, record.text, None)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_is_refused(case: str, workplace: Path, ner_eval) -> None:
    change, message = REFUSED[case]
    change(write_training())
    ended = ner_eval("select", ADAPTER, "--list")
    if not message:  # what is trained on may move: the held-out records are the same
        assert ended.code == 0
        return
    assert ended.code == 2 and ended.out == ""
    (line,) = ended.err.splitlines()
    assert message in line


def test_what_is_written_is_read(workplace: Path) -> None:
    write_training()
    held_out = read_held_out(ADAPTER, "")
    assert held_out is not None
    write_held_out(Path(), held_out)
    assert read_held_out(Path(), "") == held_out and read_held_out(Path("data"), "") is None
