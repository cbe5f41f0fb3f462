"""Gold records to training files: ``ner-data alpaca CORPUS``.

Writes ``data/alpaca/CORPUS_<split>.json`` and the prompt spec ``data/alpaca/CORPUS.prompt.json``, and registers the
datasets in ``data/alpaca/dataset_info.json``, the registry that recipes name with ``dataset_dir: data/alpaca``. One
item of an alpaca file::

    {"system": "你是…", "instruction": "请从文本中抽取…", "input": "林晓在云帆科技任经理",
     "output": "[{\"text\":\"林晓\",\"label\":\"name\"},…]", "id": "demo-train-1"}
"""

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ner_common.commands import positive
from ner_common.errors import UserError, escaped, rooted
from ner_common.files import locked, read_json, remove_leftovers, write_json, write_together
from ner_data.answers import form_names
from ner_data.convert import BUSY
from ner_data.corpus import Corpus, load_corpus
from ner_data.demonstrations import draw
from ner_data.gold import Record, read_gold
from ner_data.prompt import AGAIN, SYSTEM, PromptSpec, instruction

ALPACA = Path("data/alpaca")
REGISTRY = "dataset_info.json"
# With `columns`, LLaMA-Factory treats every unlisted column as absent, so all of them are listed.
COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}


@dataclass(frozen=True, slots=True)
class AlpacaFile:
    """One split: its file (absent if no record has gold), and how many gold records were read and kept.

    ``shown``: how many were left out because the prompt shows their text with its answer; ``unwritten``: how many
    entities the answer form cannot write.
    """

    path: Path
    read: int
    kept: int
    shown: int = 0
    unwritten: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a prompt holds in addition.

    Attributes:
        definitions: the definitions of the labels.
        demonstrations: how many records of the training split are shown with their answers; they are drawn by
            ``seed`` so that every label occurs, and are not trained on.
        repeat_text: give the text twice.
    """

    definitions: bool = False
    demonstrations: int = 0
    seed: int = 0
    repeat_text: bool = False


PLAIN = Options()


def alpaca(
    corpus: str, *, form: str = "json_list", options: Options = PLAIN
) -> tuple[PromptSpec, dict[str, AlpacaFile]]:
    """Write the alpaca files and the prompt spec of a corpus, and register the files: all or nothing.

    Args:
        corpus: a name in ``data/corpora``.
        form: the answer form, a module of ``ner_data.answers``.
        options: what the prompt holds in addition.

    Returns:
        The prompt spec, and the file of each split.

    Raises:
        UserError: no such corpus or form, no gold files, no gold to train on, gold has labels that the corpus lacks,
            the registry is damaged, or the corpus lacks what an option needs.
    """
    described = load_corpus(corpus)
    gold = _read_gold(described)
    if not any(record.entities is not None for record in gold.get("train", [])):
        raise UserError(f"{rooted(described.gold_file('train'))}: no record has gold; there is nothing to train on")
    demonstrations = draw(described, gold, options.demonstrations, options.seed)
    shown = {record.text for record in demonstrations}
    trained = [record for record in gold["train"] if record.text not in shown]
    spec = build_spec(described, trained, form, options, demonstrations)
    ALPACA.mkdir(parents=True, exist_ok=True)
    with locked(ALPACA, BUSY, wait=True):
        remove_leftovers(ALPACA, lambda name: name.endswith(".json"))
        return spec, _write(spec, gold, shown)


def _read_gold(corpus: Corpus) -> dict[str, list[Record]]:
    """The gold records of all splits, written by one conversion."""
    folder = corpus.gold_file("train").parent
    with locked(folder, BUSY, wait=True) if folder.is_dir() else nullcontext():
        gold = {split: list(read_gold(corpus.gold_file(split))) for split in corpus.splits}
    known = {label.id for label in corpus.labels}
    for split, records in gold.items():
        if unknown := {entity.label for record in records for entity in record.entities or ()} - known:
            names = ", ".join(escaped(label) for label in sorted(unknown))
            problem = f"has labels that data/corpora/{corpus.name}.yaml lacks ({names})"
            raise UserError(f"{rooted(corpus.gold_file(split))}: {problem}; run `make data CORPUS={corpus.name}`")
    return gold


def _write(spec: PromptSpec, gold: dict[str, list[Record]], shown: set[str]) -> dict[str, AlpacaFile]:
    """Write the files of all splits without texts that are ``shown``, the spec, and the registry (locked by now)."""
    registry = read_registry(ALPACA)
    files = {}
    with write_together() as write:
        for split, records in gold.items():
            able = [record for record in records if record.entities is not None]
            trainable = [record for record in able if record.text not in shown]
            path = _alpaca_file(spec.corpus, split)
            items = [item(spec, record) for record in trainable]
            files[split] = AlpacaFile(
                path, len(records), len(trainable), len(able) - len(trainable), unwritten(spec, trainable)
            )
            if trainable:
                write_json(path, items, write=write)
                registry[path.stem] = {"file_name": path.name, "columns": COLUMNS}
            else:
                registry.pop(path.stem, None)
        spec.save(spec_file(spec.corpus), write)
        # LLaMA-Factory opens the registry with the platform's encoding: ASCII is safe in all of them.
        write_json(ALPACA / REGISTRY, dict(sorted(registry.items())), ascii_only=True, write=write)
    for file in files.values():
        if not file.kept:
            file.path.unlink(missing_ok=True)  # from an earlier conversion that had gold
    return files


def _alpaca_file(corpus: str, split: str) -> Path:
    """The file with a split's items; its stem is the dataset's name in the registry."""
    return ALPACA / f"{corpus}_{split}.json"


def spec_file(corpus: str) -> Path:
    """The file with a corpus's prompt spec."""
    return ALPACA / f"{corpus}.prompt.json"


def build_spec(
    corpus: Corpus,
    train: list[Record],
    form: str,
    options: Options = PLAIN,
    demonstrations: Sequence[Record] = (),
) -> PromptSpec:
    """The prompt spec of a corpus; its bounds come from the longest answer and text of the training split.

    No tokenizer is needed: a byte-level tokenizer makes at most one token per UTF-8 byte, so the bytes of the longest
    answer, rounded up to the next multiple of 64, leave room for the end-of-turn token too.
    """
    names = [(label.id, label.name) for label in corpus.labels]
    definitions = [label.definition for label in corpus.labels] if options.definitions else []
    if options.definitions and not any(definitions):
        problem = "no label has a definition; add some, or leave --definitions out"
        raise UserError(f"data/corpora/{corpus.name}.yaml: {problem}")
    text = instruction(names, form, definitions=definitions, demonstrations=demonstrations)
    again = AGAIN if options.repeat_text else ""
    labels = tuple(label.id for label in corpus.labels)
    spec = PromptSpec(corpus.name, SYSTEM, text, labels, form, max_tokens=0, again=again)
    answers = max(len(spec.render(record).encode()) for record in train if record.entities is not None)
    texts = max(len(record.text) for record in train)
    return replace(spec, max_tokens=answers // 64 * 64 + 64, longest_text=texts)


def item(spec: PromptSpec, record: Record) -> dict[str, str]:
    """One alpaca item; LLaMA-Factory joins instruction, newline and input, as `PromptSpec.user_text` does."""
    return {
        "system": spec.system,
        "instruction": spec.instruction,
        "input": spec.input(record.text),
        "output": spec.render(record),
        "id": record.id,
    }


def unwritten(spec: PromptSpec, records: Sequence[Record]) -> int:
    """How many entities the answers that a model should give leave out, such as overlapping ones in `inline`."""
    return sum(len(record.gold) - len(spec.parse(spec.render(record), record.text).mentions) for record in records)


def read_registry(folder: Path) -> dict[str, Any]:
    """Read the ``dataset_info.json`` of a folder; an empty registry if there is no such file.

    Raises:
        UserError: the file is not a JSON object of datasets, for example after a slip in editing it by hand.
    """
    path = folder / REGISTRY
    if not path.exists():
        return {}
    remedy = "fix it by hand, or remove it and run `make data` for each corpus"
    return dict(read_json(path, remedy, dict[str, dict[str, Any]]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", help="a name in data/corpora")
    parser.add_argument(
        "--form",
        choices=form_names(),
        default="json_list",
        help="how the model writes its answer: a module of tools/ner_data/answers (default: %(default)s)",
    )
    parser.add_argument("--definitions", action="store_true", help="put the definitions of the labels into the prompt")
    parser.add_argument(
        "--demonstrations",
        type=positive(int),
        default=0,
        metavar="K",
        help="put K records of the training split with their answers into the prompt; they are not trained on",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed for drawing the records of --demonstrations (default: %(default)s)"
    )
    parser.add_argument("--repeat-text", action="store_true", help="give the text twice in the prompt")


def run(args: argparse.Namespace) -> None:
    options = Options(**{field.name: getattr(args, field.name) for field in fields(Options)})
    spec, files = alpaca(args.corpus, form=args.form, options=options)
    for file in files.values():
        without = file.read - file.kept - file.shown
        shown = f", demonstrations {file.shown}" if file.shown else ""
        rejected = f"rejected {without + file.shown} (no gold {without}{shown})"
        print(f"{rooted(file.path)}: read {file.read}, kept {file.kept}, {rejected}")
        if file.unwritten:
            print(f"note: {rooted(file.path)}: {args.form} cannot write {file.unwritten} of its entities")
    summary = f"prompt {spec.fingerprint}, {len(spec.labels)} labels, max_tokens {spec.max_tokens}"
    print(f"{rooted(spec_file(args.corpus))}: {summary}")
