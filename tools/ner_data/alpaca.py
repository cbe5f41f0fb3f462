"""Gold records to training files: ``ner-data alpaca CORPUS``.

Writes ``data/alpaca/CORPUS_<split>.json`` and the prompt spec ``data/alpaca/CORPUS.prompt.json``, and registers the
datasets in ``data/alpaca/dataset_info.json``, the registry that recipes name with ``dataset_dir: data/alpaca``. One
item of an alpaca file::

    {"system": "你是…", "instruction": "请从文本中抽取…", "input": "林晓在云帆科技任经理",
     "output": "[{\"text\":\"林晓\",\"label\":\"name\"},…]", "id": "demo-train-1"}
"""

import argparse
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from ner_common.commands import positive
from ner_common.errors import UserError, rooted
from ner_common.files import (
    Opener,
    below,
    folder_for,
    locked,
    read_json,
    remove_leftovers,
    write_json,
    write_together,
)
from ner_common.parallel import in_order, workers_for
from ner_data.answers import form_names
from ner_data.convert import BUSY
from ner_data.corpus import check_labels, load_corpus
from ner_data.demonstrations import draw
from ner_data.described import Corpus, Label
from ner_data.fewer_labels import FewerLabels, fewer_labels
from ner_data.gold import Record, pieces, read_gold
from ner_data.items import Part, part_of
from ner_data.prompt import AGAIN, SYSTEM, PromptSpec, instruction, only
from ner_data.sentences import has_several

ALPACA = Path("data/alpaca")
REGISTRY = "dataset_info.json"
# Of the texts: from here on, a model counts as one that learned from several sentences at once. 25 % of CLUENER's are
# several, 0.3 % of TCM's.
SEVERAL = 0.1
# With `columns`, LLaMA-Factory treats every unlisted column as absent, so all of them are listed.
COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}


@dataclass(frozen=True, slots=True)
class AlpacaFile:
    """One split: its file (absent if no record has gold), and how many gold records were read and kept.

    ``shown``: how many were left out because the prompt shows their text with its answer; ``unwritten``: how many
    entities the answer form cannot write; ``fewer``: how many ask for fewer labels.
    """

    path: Path
    read: int
    kept: int
    shown: int = 0
    unwritten: int = 0
    fewer: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a prompt holds in addition.

    Attributes:
        definitions: the definitions of the labels.
        demonstrations: how many records of the training split are shown with their answers; they are drawn by
            ``seed`` so that every label occurs, and are not trained on.
        repeat_text: give the text twice.
        drop_labels: the share of the training records that ask for some of the labels only, drawn by ``seed``; see
            `fewer_labels`.
    """

    definitions: bool = False
    demonstrations: int = 0
    seed: int = 0
    repeat_text: bool = False
    drop_labels: float = 0.0


PLAIN = Options()


def alpaca(
    corpus: str, *, form: str = "json_list", options: Options = PLAIN, workers: int = 0
) -> tuple[PromptSpec, dict[str, AlpacaFile]]:
    """Write the alpaca files and the prompt spec of a corpus, and register the files: all or nothing.

    Args:
        corpus: a name in ``data/corpora``.
        form: the answer form, a module of ``ner_data.answers``.
        options: what the prompt holds in addition.
        workers: how many processes work on large files; 0: one per core. The files are the same for any number.

    Returns:
        The prompt spec, and the file of each split.

    Raises:
        UserError: no such corpus or form, no gold files, no gold to train on, gold has labels that the corpus lacks,
            the registry is damaged, or the corpus lacks what an option needs.
    """
    described = load_corpus(corpus)
    folder = described.gold_file("train").parent
    # Only demonstrations need the records of all splits at once.
    with locked(folder, BUSY, wait=True) if folder.is_dir() else nullcontext():
        gold = (
            {split: list(read_gold(described.gold_file(split))) for split in described.splits}
            if options.demonstrations
            else {}
        )
        demonstrations = draw(described, gold, options.demonstrations, options.seed)
        shown = frozenset(record.text for record in demonstrations)
        spec = _unbounded_spec(described, form, options, demonstrations)
        fewer = _fewer(described, form, options, demonstrations)
        spec = replace(spec, fewer=tuple(one.instruction for one in fewer.specs))
        with folder_for(ALPACA), locked(ALPACA, BUSY, wait=True):
            remove_leftovers(ALPACA, lambda name: name.endswith(".json"))
            return _write(spec, fewer, described, shown, workers)


def _write(
    spec: PromptSpec, fewer: FewerLabels, corpus: Corpus, shown: frozenset[str], workers: int
) -> tuple[PromptSpec, dict[str, AlpacaFile]]:
    """Write the files of all splits without texts that are ``shown``, the spec, and the registry (locked by now)."""
    registry = read_registry(ALPACA)
    files = {}
    with write_together() as write:
        for split in corpus.splits:
            path = _alpaca_file(spec.corpus, split)
            dropped = fewer if split == "train" else FewerLabels()
            part, kept = _write_split(spec, dropped, corpus, split, shown, write, workers)
            files[split] = AlpacaFile(path, part.read, kept, part.able - kept, part.unwritten, part.fewer)
            if kept:
                registry[path.stem] = {"file_name": path.name, "columns": COLUMNS}
            else:
                registry.pop(path.stem, None)
            if split == "train":
                spec = _bounded(spec, part.answer, part.text, part.several / kept)
        spec.save(spec_file(spec.corpus), write)
        # LLaMA-Factory opens the registry with the platform's encoding: ASCII is safe in all of them.
        write_json(ALPACA / REGISTRY, dict(sorted(registry.items())), ascii_only=True, write=write)
    for file in files.values():
        if not file.kept:
            file.path.unlink(missing_ok=True)  # without gold, or from an earlier conversion that had some
    return spec, files


def _write_split(
    spec: PromptSpec,
    fewer: FewerLabels,
    corpus: Corpus,
    split: str,
    shown: frozenset[str],
    write: Opener,
    workers: int,
) -> tuple[Part, int]:
    """Write the alpaca file of one split, one item per line: what was counted, and the number of items."""
    from tqdm import tqdm

    gold = corpus.gold_file(split)
    size = gold.stat().st_size if gold.is_file() else 0
    total, kept = Part(), 0
    work = partial(part_of, spec, fewer, shown, gold)
    with (
        write(_alpaca_file(spec.corpus, split)) as file,
        tqdm(total=size, unit="B", unit_scale=True, desc=split, delay=2) as bar,
    ):
        out = below(file)
        out.write(b"[\n")
        for read, part in in_order(work, pieces(gold), workers_for(size, workers)):
            if part.items:
                out.write((b",\n" if kept else b"") + b",\n".join(part.items))
            kept += len(part.items)
            total.add(part)
            bar.update(read)
        out.write(b"\n]\n")
    if len(set(total.ids)) < total.read or not total.read:
        deque(read_gold(gold), maxlen=0)  # says which id is there twice, or that there is none
    check_labels(corpus, split, total.labels)
    if split == "train" and not kept:
        raise UserError(f"{rooted(gold)}: no record has gold; there is nothing to train on")
    return total, kept


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
    spec = _unbounded_spec(corpus, form, options, demonstrations)
    answers = max(len(spec.render(record).encode()) for record in train if record.entities is not None)
    texts = [record.text for record in train]
    return _bounded(spec, answers, max(map(len, texts)), sum(map(has_several, texts)) / len(texts))


def _unbounded_spec(corpus: Corpus, form: str, options: Options, demonstrations: Sequence[Record]) -> PromptSpec:
    names = [(label.id, label.name) for label in corpus.labels]
    labels = tuple(label.id for label in corpus.labels)
    demonstrations = [only(record, labels) for record in demonstrations]
    definitions = [label.definition for label in corpus.labels] if options.definitions else []
    if options.definitions and not any(definitions):
        problem = "no label has a definition; add some, or leave --definitions out"
        raise UserError(f"data/corpora/{corpus.name}.yaml: {problem}")
    text = instruction(names, form, definitions=definitions, demonstrations=demonstrations)
    again = AGAIN if options.repeat_text else ""
    return PromptSpec(corpus.name, SYSTEM, text, labels, form, max_tokens=0, again=again)


def _fewer(corpus: Corpus, form: str, options: Options, demonstrations: Sequence[Record]) -> FewerLabels:
    def spec(labels: Sequence[Label]) -> PromptSpec:
        defined = options.definitions and any(label.definition for label in labels)
        some = replace(corpus, labels=tuple(labels))
        return _unbounded_spec(some, form, replace(options, definitions=defined), demonstrations)

    return fewer_labels(corpus, options.drop_labels, options.seed, spec)


def _bounded(spec: PromptSpec, answer: int, text: int, several: float) -> PromptSpec:
    """A spec with its bounds.

    Args:
        answer: bytes of the longest answer.
        text: characters of the longest text.
        several: the share of the texts that are several sentences.
    """
    tokens = answer // 64 * 64 + 64
    return replace(spec, max_tokens=tokens, longest_text=text, several_sentences=several >= SEVERAL)


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
        "--seed",
        type=int,
        default=0,
        help="seed for drawing the records of --demonstrations and --drop-labels (default: %(default)s)",
    )
    parser.add_argument("--repeat-text", action="store_true", help="give the text twice in the prompt")
    parser.add_argument(
        "--drop-labels",
        type=positive(float),
        default=0.0,
        metavar="SHARE",
        help="let this share of the training records ask for some of the labels only, and answer with these: hard "
        "negatives, for a model that is to keep to the labels it is asked for",
    )


def run(args: argparse.Namespace) -> None:
    options = Options(**{field.name: getattr(args, field.name) for field in fields(Options)})
    spec, files = alpaca(args.corpus, form=args.form, options=options)
    for file in files.values():
        without = file.read - file.kept - file.shown
        shown = f", demonstrations {file.shown}" if file.shown else ""
        rejected = f"rejected {without + file.shown} (no gold {without}{shown})"
        print(f"{rooted(file.path)}: read {file.read}, kept {file.kept}, {rejected}")
        if file.fewer:
            print(f"note: {rooted(file.path)}: {file.fewer} of them ask for fewer labels")
        if file.unwritten:
            print(f"note: {rooted(file.path)}: {args.form} cannot write {file.unwritten} of its entities")
    summary = f"prompt {spec.fingerprint}, {len(spec.labels)} labels, max_tokens {spec.max_tokens}"
    print(f"{rooted(spec_file(args.corpus))}: {summary}")
