"""Gold to alpaca files: ``ner-data alpaca CORPUS``.

Writes ``data/alpaca/CORPUS_<split>.json`` and the prompt spec ``data/alpaca/CORPUS.prompt.json``, and registers the
data sets in ``dataset_info.json``. One item of an alpaca file::

    {"system": "你是…", "instruction": "请从文本中抽取…", "input": "林晓在云帆科技任经理",
     "output": "[{\"text\":\"林晓\",\"label\":\"name\"},…]", "id": "demo-train-1"}
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, rooted
from ner_common.files import read_json, write_json, write_together
from ner_data.answers import FORMS
from ner_data.corpus import Corpus, load_corpus
from ner_data.gold import Record, read_gold
from ner_data.prompt import SYSTEM, PromptSpec, escape, instruction

ALPACA = Path("data/alpaca")
REGISTRY = Path("dataset_info.json")
# Where `columns` is present, LLaMA-Factory takes every column it does not list as absent, so all are listed.
COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", help="a name in data/corpora")
    parser.add_argument(
        "--form", choices=sorted(FORMS), default="json_list", help="answer form (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    corpus = load_corpus(args.corpus)
    gold = {split: list(read_gold(corpus.gold_file(split))) for split in corpus.splits}
    if not any(record.entities is not None for record in gold.get("train", [])):
        raise UserError(f"{rooted(corpus.gold_file('train'))}: no record has gold; there is nothing to train on")
    spec = build_spec(corpus, gold["train"], args.form)
    trainable = {
        split: [record for record in records if record.entities is not None] for split, records in gold.items()
    }
    registry = read_registry()
    with write_together() as write:
        for split, records in trainable.items():
            path = _alpaca_file(corpus.name, split)
            if records:
                write_json(path, [item(spec, record) for record in records], write=write)
                registry[path.stem] = {"file_name": path.as_posix(), "columns": COLUMNS}
            else:
                registry.pop(path.stem, None)
        spec.save(spec_file(corpus.name), write)
        # LLaMA-Factory opens the registry with the platform's encoding: ASCII is safe in all of them.
        write_json(REGISTRY, dict(sorted(registry.items())), ascii_only=True, write=write)
    for split, records in trainable.items():
        path, without = _alpaca_file(corpus.name, split), len(gold[split]) - len(records)
        if not records:
            path.unlink(missing_ok=True)  # of an earlier conversion that had gold
        print(f"{rooted(path)}: read {len(gold[split])}, kept {len(records)}, rejected {without} (no gold {without})")
    summary = f"prompt {spec.fingerprint}, {len(spec.labels)} labels, max_tokens {spec.max_tokens}"
    print(f"{rooted(spec_file(corpus.name))}: {summary}")


def _alpaca_file(corpus: str, split: str) -> Path:
    """Where a split lies; the stem is its name in the registry."""
    return ALPACA / f"{corpus}_{split}.json"


def spec_file(corpus: str) -> Path:
    """Where the prompt spec of a corpus lies."""
    return ALPACA / f"{corpus}.prompt.json"


def build_spec(corpus: Corpus, train: list[Record], form: str) -> PromptSpec:
    """The prompt spec of a corpus; its bounds from the longest answer and the longest text of its training split.

    No tokenizer is needed: a byte-level tokenizer never makes more tokens than there are UTF-8 bytes, so the bytes of
    the longest answer, rounded up to a multiple of 64, are a safe bound (with room for the end-of-turn token).
    """
    text = instruction([(label.id, label.name) for label in corpus.labels], form)
    spec = PromptSpec(corpus.name, SYSTEM, text, tuple(label.id for label in corpus.labels), form, max_tokens=0)
    answers = max(len(spec.render(record).encode()) for record in train if record.entities is not None)
    texts = max(len(record.text) for record in train)
    return replace(spec, max_tokens=answers // 64 * 64 + 64, longest_text=texts)


def item(spec: PromptSpec, record: Record) -> dict[str, str]:
    """One alpaca item; LLaMA-Factory joins instruction, newline and input, as `PromptSpec.user_text` does."""
    return {
        "system": spec.system,
        "instruction": spec.instruction,
        "input": escape(record.text),
        "output": spec.render(record),
        "id": record.id,
    }


def read_registry() -> dict[str, Any]:
    """Read ``dataset_info.json`` (an empty registry where there is none).

    Raises:
        UserError: the file is not a JSON object of data sets, as after a slip in hand editing.
    """
    if not REGISTRY.exists():
        return {}
    registry = read_json(REGISTRY, "mend it by hand, or restore it with `git checkout dataset_info.json`")
    if not isinstance(registry, dict) or not all(isinstance(value, dict) for value in registry.values()):
        raise UserError(f"{REGISTRY}: must be an object with one object a data set; `git checkout dataset_info.json`")
    return registry
