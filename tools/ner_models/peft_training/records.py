"""The records of a recipe as token ids: alpaca files, the model's own chat template, a seeded part held out.

Token ids and labels are those of LLaMA-Factory, and so are the records that are held out.
"""

from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from llamafactory_ner.checks.datasets import FIX, split
from llamafactory_ner.prompts import Prompt, spec_beside
from llamafactory_ner.shared_rows import IGNORED
from llamafactory_ner.training_data import RECORD, TrainingData, column
from ner_common.decoding import convert
from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import read_json
from ner_data.alpaca import REGISTRY, read_registry
from ner_models.peft_training.recipe import Recipe

LARGEST = 1 << 32  # bytes of a training file; CLUENER's has 10 million


class Columns(Struct, frozen=True, forbid_unknown_fields=True):
    """The names of a file's columns, by LLaMA-Factory's names for them."""

    prompt: str = "instruction"
    query: str = "input"
    response: str = "output"
    system: str | None = None


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """A data set in ``dataset_info.json``, as far as it is an alpaca file; LLaMA-Factory knows more kinds."""

    file_name: str
    columns: Columns = Columns()
    formatting: Literal["alpaca"] = "alpaca"


def load_chats(recipe: Recipe, data: TrainingData) -> Any:
    """The records of all data sets of a recipe, compared with the prompt specs beside their files.

    Returns:
        A data set with LLaMA-Factory's columns ``_system``, ``_prompt`` (the user's turn) and ``_response``, and
        `RECORD`, the id.

    Raises:
        UserError: a file is missing or not of this form.
    """
    from datasets import concatenate_datasets

    registry = read_registry(Path(recipe.dataset_dir))
    loaded = []
    for name in split(recipe.dataset):
        try:
            entry = convert(registry.get(name), Entry)
        except ValueError as error:
            path = Path(recipe.dataset_dir, REGISTRY)
            raise UserError(f"{rooted(path)}: the entry {one_line(name)}: {error}; {FIX}") from None
        loaded.append(_load_file(Path(recipe.dataset_dir, entry.file_name), entry.columns, recipe.max_samples, data))
    return concatenate_datasets(loaded)


def _load_file(path: Path, columns: Columns, most: int | None, data: TrainingData) -> Any:
    from datasets import Dataset

    # The spec first: if both files are replaced now, the records differ from it and are refused.
    spec = spec_beside(path)
    prompt = Prompt.read(spec) if spec else None
    rows = read_json(path, "run `make data`", list[dict[str, Any]], LARGEST)[:most]
    if not rows:
        raise UserError(f"{rooted(path)}: has no records; run `make data`")
    chats: dict[str, list[Any]] = {RECORD: [], "_system": [], "_prompt": [], "_response": []}
    for number, row in enumerate(rows, start=1):
        names = [columns.prompt, columns.query, columns.response, *([columns.system] if columns.system else [])]
        if wrong := [name for name in names if not isinstance(row.get(name), str)]:
            problem = f"record {number}: {', '.join(map(escaped, wrong))}: not there, or no text"
            raise UserError(f"{rooted(path)}: {problem}; run `make data`, or name its columns in {REGISTRY}")
        asked, text, answer, *system = (row[name] for name in names)
        chats[RECORD].append("" if row.get("id") is None else str(row["id"]))
        chats["_system"].append(system[0] if system else "")
        chats["_prompt"].append([{"role": "user", "content": "\n".join(part for part in (asked, text) if part)}])
        chats["_response"].append(answer)
    dataset = Dataset.from_dict(chats)
    if prompt:
        data.compare(path, prompt, [row[columns.prompt] for row in rows], dataset)
    else:
        data.without.append(path.stem)
    return dataset


def hold_out(chats: Any, recipe: Recipe, data: TrainingData) -> tuple[Any, Any]:
    """The records to train on, and those that are held out (None without ``val_size``)."""
    if not recipe.val_size:
        return chats, None
    size = int(recipe.val_size) if recipe.val_size > 1 else recipe.val_size
    try:
        parts = chats.train_test_split(test_size=size, seed=recipe.seed)
    except ValueError:
        problem = f"val_size {recipe.val_size:g} leaves nothing to train on or to hold out"
        raise UserError(f"{problem} of {len(chats):,} records; change it") from None
    data.hold_out(chats, parts["test"], split(recipe.dataset), recipe.val_size, recipe.seed)
    return parts["train"], parts["test"]


def encoded(chats: Any, tokenizer: Any, recipe: Recipe) -> Any:
    """The records of `load_chats` as ``input_ids`` and ``labels``.

    Raises:
        UserError: a record has more than ``cutoff_len`` tokens: cut, its answer would be cut first.
    """
    told = {} if recipe.enable_thinking is None else {"enable_thinking": recipe.enable_thinking}

    def encode_row(row: dict[str, Any]) -> dict[str, list[int]]:
        inputs, labels = encode(tokenizer, row["_system"], row["_prompt"], row["_response"], told)
        return {"input_ids": inputs, "labels": labels}

    records = chats.map(
        encode_row, remove_columns=chats.column_names, keep_in_memory=True, load_from_cache_file=False, desc="tokens"
    )
    lengths = [len(inputs) for inputs in column(records, "input_ids")]
    if longer := sum(length > recipe.cutoff_len for length in lengths):
        problem = (
            f"{longer:,} of {len(lengths):,} records have more tokens than cutoff_len allows ({recipe.cutoff_len:,})"
        )
        raise UserError(f"{problem}; set cutoff_len={max(lengths)}, or shorten the texts")
    return records


def encode(
    tokenizer: Any, system: str, turns: list[dict[str, str]], answer: str, told: dict[str, bool]
) -> tuple[list[int], list[int]]:
    """A record as token ids and labels: of the answer and what ends it, `IGNORED` for all before.

    The two are encoded one after the other, as in generation. ``told``: the chat template's own arguments.
    """
    messages = [*([{"role": "system", "content": system}] if system else []), *turns]
    asked = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **told)
    whole = tokenizer.apply_chat_template(
        [*messages, {"role": "assistant", "content": answer}], tokenize=False, **told
    )
    if not whole.startswith(asked):
        raise UserError(
            "this model's chat template changes a question once it is answered; train with llamafactory-cli"
        )
    before, after = (tokenizer.encode(text, add_special_tokens=False) for text in (asked, whole[len(asked) :]))
    return before + after, [IGNORED] * len(before) + after
