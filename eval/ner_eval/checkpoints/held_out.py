"""The records that a training held out, with their gold: what checkpoints are compared on.

dev and test are for final scores only; a checkpoint chosen by them would make those too good.
"""

from pathlib import Path
from typing import Any

from ner_common.errors import UserError, one_line, rooted
from ner_common.held_out import HeldOut, read_held_out, texts_checksum
from ner_common.training_record import TrainingRecord, data_sets
from ner_data.corpus import load_corpus
from ner_data.gold import Record, read_gold
from ner_data.prompt import PromptSpec

AGAIN = "train again with a recipe that has val_size and a corpus of `make data`"


def held_out_records(adapter: Path, record: TrainingRecord, spec: PromptSpec) -> list[Record]:
    """The gold records that the training which wrote an adapter's folder held out, in the order of the gold file.

    Args:
        record: how the adapter was trained.
        spec: its prompt.

    Raises:
        UserError: it held out none, or it is not known which, or they have changed since.
    """
    held_out = read_held_out(adapter, AGAIN)
    if held_out is None:
        raise UserError(f"{rooted(adapter)}: {why_unknown(record.arguments)}; {AGAIN}")
    if len(held_out.datasets) > 1:
        names = ", ".join(one_line(name, 40) for name in held_out.datasets)
        problem = f"was trained on several data sets ({names}), and checkpoints are compared on one"
        raise UserError(f"{rooted(adapter)}: {problem}; {AGAIN}")
    if held_out.datasets != (f"{spec.corpus}_train",):
        problem = f"was trained on {one_line(held_out.datasets[0], 60)}, which is not the train split of {spec.corpus}"
        raise UserError(f"{rooted(adapter)}: {problem}; {AGAIN}")
    return _gold(held_out, spec)


def why_unknown(arguments: dict[str, Any]) -> str:
    """Why there is no list of held-out records, from the training's arguments."""
    if arguments.get("tokenized_path"):
        return "was trained on data encoded earlier (tokenized_path), so which records it held out is unknown"
    if arguments.get("streaming") in (True, "true", "True"):
        return "was trained with streaming, which holds out no fixed records"
    if arguments.get("eval_dataset"):
        return "was evaluated on a data set of its own (eval_dataset), and held out none of its training records"
    if not _is_positive(arguments.get("val_size")):
        return "held out no records (no val_size)"
    if len(data_sets(arguments)) > 1:
        return "was trained on several data sets, and checkpoints are compared on one"
    return (
        "does not say which records it held out: it was trained by an earlier version, its data have no ids, or the "
        "data changed while it was interrupted"
    )


def _is_positive(value: Any) -> bool:
    try:
        return float(value) > 0
    except (TypeError, ValueError):
        return False


def _gold(held_out: HeldOut, spec: PromptSpec) -> list[Record]:
    """The records by their ids, if they still are those that were held out.

    Raises:
        UserError: see `held_out_records`.
    """
    path = load_corpus(spec.corpus).gold_file("train")
    by_id = {record.id: record for record in read_gold(path) if record.entities is not None}
    remedy = f"restore the corpus as it was then (make data CORPUS={spec.corpus}), or train again"
    if missing := [id for id in held_out.records if id not in by_id]:
        problem = f"lacks {len(missing)} of the {len(held_out.records)} records that the training held out"
        raise UserError(f"{rooted(path)}: {problem} ({one_line(missing[0], 40)}); {remedy}")
    if texts_checksum((id, spec.user_text(by_id[id].text)) for id in held_out.records) != held_out.texts:
        problem = f"has other texts than the {len(held_out.records)} records that the training held out"
        raise UserError(f"{rooted(path)}: {problem}; {remedy}")
    wanted = set(held_out.records)
    return [record for id, record in by_id.items() if id in wanted]
