"""The description of a corpus: ``data/corpora/<name>.yaml``.

A small one::

    name: demo
    title: Generated demonstration corpus
    source: written by `ner-data fetch demo`
    licence: Apache-2.0
    format: cluener                 # a module of ner_data.formats
    splits:
      train: {file: train.json}
      test: {file: test.json, gold: false}     # gold: false = no entities in the file
    labels:
      name: {name: 姓名, definition: 人的名字}    # the definition is optional

Optional keys: ``encoding`` (of the raw files, see `source.ENCODINGS`), ``options`` of the format (a mapping),
``nested`` (`nesting.POLICIES`) and ``split_sentences`` (cut texts of more characters at sentence ends).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, asdict, fields
from pathlib import Path, PurePosixPath
from typing import Any

from ner_common.errors import UserError, UserErrors, escaped, is_plain, one_line, printable, rooted
from ner_common.files import Opener, read_yaml, write_atomically
from ner_data.described import Corpus, Label, Split
from ner_data.formats import format_names, option_problems
from ner_data.nesting import POLICIES
from ner_data.prompt import escape
from ner_data.source import ENCODINGS

CORPORA = Path("data/corpora")
RAW = Path("data/raw")
SPLITS = ("train", "dev", "test")


def load_corpus(name: str) -> Corpus:
    """Read ``data/corpora/<name>.yaml``.

    Raises:
        UserError: there is no such corpus, or its description has problems (all of them are reported).
    """
    path = CORPORA / f"{name}.yaml"
    names = sorted(p.stem for p in CORPORA.glob("*.yaml"))
    known = ", ".join(names) or "none (are you in the repository's root?)"
    if name not in names:
        raise UserError(f"{escaped(name)}: no such corpus; known: {known}")
    value = read_yaml(path, "see data/corpora/cluener.yaml")
    if problems := list(_problems(name, value)):
        raise UserErrors(f"{rooted(path)}: {problem}; see data/corpora/cluener.yaml" for problem in problems)
    splits = {key: Split(**part) for key, part in value["splits"].items()}
    labels = tuple(Label(key, **part) for key, part in value["labels"].items())
    return Corpus(**{**value, "splits": splits, "labels": labels})


def check_name(name: str) -> None:
    """Refuse a name that a new corpus cannot have: it names files, datasets and make variables.

    Raises:
        UserError: it is not made of letters, digits, ``_``, ``-`` and ``.``, or does not start with a letter or digit.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"{escaped(name)}: no name for a corpus; use letters, digits, `_`, `-` and `.`")


def write_description(corpus: Corpus, write: Opener = write_atomically) -> Path:
    """Write ``data/corpora/<name>.yaml``, without what is as by default; returns its path."""
    import yaml

    value = {
        **{key: given for key, given in asdict(corpus).items() if key not in ("splits", "labels")},
        "splits": {split: _given(part) for split, part in corpus.splits.items()},
        "labels": {label.id: _given(label, "id") for label in corpus.labels},
    }
    value = {key: given for key, given in value.items() if key not in _OPTIONAL or given != _DEFAULTS[key]}
    path = CORPORA / f"{corpus.name}.yaml"
    with write(path) as file:
        yaml.safe_dump(value, file, allow_unicode=True, sort_keys=False, width=119, default_flow_style=None)
    return path


def _given(part: Split | Label, *without: str) -> dict[str, Any]:
    """The keys of a split or label that are not as by default."""
    values = asdict(part)
    return {f.name: values[f.name] for f in fields(part) if f.name not in without and values[f.name] != f.default}


def _problems(name: str, value: Any) -> Iterator[str]:
    """What is wrong in the description of a corpus, in words."""
    if not isinstance(value, dict):
        yield f"must be a mapping, not {one_line(value)}"
        return
    known = [field.name for field in fields(Corpus)]
    if missing := [key for key in known if key not in _OPTIONAL and value.get(key) in (None, "")]:
        yield f"lacks {', '.join(missing)}"
    for key, given in value.items():
        if key not in known:
            yield f"has an unknown {_quoted(key)}; known: {', '.join(known)}"
        elif key in _OPTIONAL:
            if not _OPTIONAL[key][0](given):
                yield f"{key} must be {_OPTIONAL[key][1]}, not {one_line(given)}"
        elif key not in ("splits", "labels", *missing) and not isinstance(given, str):
            yield f"{key} must be text (quote it), not {one_line(given)}"
    if value.get("name", name) != name:
        yield f"`name: {_quoted(value['name'])}` must be `name: {name}`, like the file name"
    if value.get("format") and value["format"] not in format_names():
        yield f"unknown format {one_line(value['format'])}; known: {', '.join(format_names())}"
    elif value.get("format") and isinstance(value.get("options", {}), dict):
        yield from option_problems(value["format"], value.get("options", {}))
    for key, kind in (("splits", Split), ("labels", Label)):
        parts = value.get(key)
        if isinstance(parts, dict) and parts:
            for part, given in parts.items():
                yield from _part_problems(f"{key}: {_quoted(part)}", kind, given)
        elif parts is not None:
            yield f"{key} must be a mapping with at least one entry"
    if isinstance(value.get("splits"), dict) and (unknown := set(value["splits"]) - set(SPLITS)):
        yield f"unknown splits {', '.join(sorted(map(_quoted, unknown)))}; use {', '.join(SPLITS)}"
    if isinstance(value.get("splits"), dict):
        yield from _shared_files(value["splits"])
    if isinstance(value.get("labels"), dict):
        yield from _label_problems(value["labels"])


def _part_problems(where: str, kind: type[Split] | type[Label], given: Any) -> Iterator[str]:
    """What is wrong in the description of a split or a label."""
    known = {field.name: field for field in fields(kind) if field.name != "id"}
    if not isinstance(given, dict):
        yield f"{where} must be a mapping of {', '.join(known)}, not {one_line(given)}"
        return
    if missing := [key for key, field in known.items() if field.default is MISSING and key not in given]:
        yield f"{where} lacks {', '.join(missing)}"
    for key, value in given.items():
        if key not in known:
            yield f"{where} has an unknown {_quoted(key)}; known: {', '.join(known)}"
        elif key == "url":
            addresses = value if isinstance(value, list) and value else [value]
            if bad := [one for one in addresses if not (isinstance(one, str) and _URL.fullmatch(one))]:
                yield f"{where}: url must be an address that starts with http:// or https://, not {one_line(bad[0])}"
        elif not isinstance(value, known[key].type):  # type: ignore[arg-type]
            wanted = "true or false" if known[key].type is bool else "text (quote it)"
            yield f"{where}: {key} must be {wanted}, not {one_line(value)}"
        elif isinstance(value, str) and key in _RULES and not _RULES[key][0](value):
            yield f"{where}: {key} must be {_RULES[key][1]}, not {one_line(value)}"


def _shared_files(splits: dict[Any, Any]) -> Iterator[str]:
    """Splits that have the file of an earlier one: what is trained on would be scored."""
    seen: dict[PurePosixPath, str] = {}
    for split, part in splits.items():
        file = part.get("file") if isinstance(part, dict) else None
        if isinstance(file, str) and (other := seen.setdefault(PurePosixPath(file), _quoted(split))) != _quoted(split):
            yield f"splits: {other} and {_quoted(split)} have the same file, {one_line(file)}; name the file of each"


def _label_problems(labels: dict[Any, Any]) -> Iterator[str]:
    """What is wrong with the ids of the labels, which are part of the instruction."""
    for label, part in labels.items():
        if problem := label_problem(label):
            yield f"labels: {problem}"
        name = part.get("name") if isinstance(part, dict) else None
        if isinstance(name, str) and escape(name) != name:
            yield f"labels: {label_problem(name)}"


def check_labels(corpus: Corpus, split: str, labels: Iterable[str]) -> None:
    """Refuse gold of a split that has labels which the corpus lacks.

    Raises:
        UserError: it has.
    """
    if unknown := set(labels) - {label.id for label in corpus.labels}:
        names = ", ".join(escaped(label) for label in sorted(unknown))
        problem = f"has labels that data/corpora/{corpus.name}.yaml lacks ({names})"
        raise UserError(f"{rooted(corpus.gold_file(split))}: {problem}; run `make data CORPUS={corpus.name}`")


def label_problem(label: Any) -> str | None:
    """Why an instruction cannot hold the id of a label, in words; None if it can."""
    if not isinstance(label, str):
        return f"{one_line(label)} must be text (quote it)"
    if not _is_line(label):
        return f"{one_line(label)} must be {_LINE}"
    if escape(label) != label:
        return f"{one_line(label)} looks like a control token of a model; write it differently"
    return None


def _quoted(key: Any) -> str:
    """A key as it is written, on one line."""
    return escaped(key) if isinstance(key, str) else one_line(key)


def _is_line(text: str) -> bool:
    return bool(text) and text == text.strip() and is_plain(text)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return _is_line(name) and path.name != "" and not path.is_absolute() and ".." not in path.parts


_LINE = "one line of text, without control characters or white space around it"
_URL = re.compile(r"https?://[^\s/]\S*")
# Per key of a split or label: whether its text is right, and what it must be.
_RULES: dict[str, tuple[Callable[[str], object], str]] = {
    "file": (_is_inside, "a name inside the raw folder"),
    "tags": (_is_inside, "a name inside the raw folder"),
    "sha256": (re.compile(r"[0-9a-fA-F]{64}").fullmatch, "64 hexadecimal digits"),
    "name": (_is_line, _LINE),
    "definition": (lambda text: printable(text) == text, "text without control characters"),
}
_DEFAULTS: dict[str, Any] = {"encoding": "utf-8", "options": {}, "nested": "keep", "split_sentences": 0}
# Per optional key of a corpus: whether its value is right, and what it must be.
_OPTIONAL: dict[str, tuple[Callable[[Any], object], str]] = {
    "encoding": (ENCODINGS.__contains__, f"one of {', '.join(ENCODINGS)}"),
    "options": (lambda value: isinstance(value, dict), "a mapping of the format's options"),
    "nested": (POLICIES.__contains__, f"one of {', '.join(POLICIES)}"),
    "split_sentences": (lambda value: type(value) is int and value > 0, "a number of characters"),
}
