"""Reading and writing of one raw file by a module of `ner_data.formats`, as tests do it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from ner_common.errors import UserError
from ner_common.files import write_together
from ner_data.described import Corpus, Label, Split
from ner_data.formats import Sample
from ner_data.gold import Record
from ner_data.source import Source

Content = bytes | Mapping[str, bytes]


def read(format: ModuleType, path: Path, gold: bool, encoding: str = "utf-8", **options: object) -> list[Sample]:
    """All samples of a file."""
    return list(format.Reader(**options).read(Source(path, encoding), gold))


def put(content: Content, path: Path) -> Path:
    """Write a file, or a folder with the files of a mapping of relative paths; what was there is removed."""
    if path.is_dir():
        for file in sorted(path.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        path.rmdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
        return path
    path.mkdir()
    for name, data in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def reasons(
    format: ModuleType, malformed: Iterable[tuple[str, Content]], path: Path, **options: object
) -> dict[str, str]:
    """Why each file is refused: the reason of its first bad record, or the message from the file's name on."""
    found = {}
    for what, content in malformed:
        try:
            samples = read(format, put(content, path), gold=True, **options)
        except UserError as error:
            assert "\n" not in str(error), what
            found[what] = str(error)[str(error).find(path.name) :]
        else:
            problems = [sample.problem for sample in samples if sample.problem]
            assert problems and all(part.isprintable() for problem in problems for part in problem), (what, problems)
            found[what] = problems[0][0]
    return found


def corpus_of(records: Iterable[Record], format: str = "gold", **options: object) -> Corpus:
    """A description with the labels of some records."""
    labels = sorted({entity.label for record in records for entity in record.entities or ()} or {"name"})
    return Corpus(
        "my",
        "Mine",
        "here",
        "CC0",
        format,
        {"train": Split("a")},
        tuple(Label(label, label) for label in labels),
        options=options,
    )


def written(format: ModuleType, samples: Iterable[Sample | Record], target: Path, **options: object) -> Path:
    """Write samples that were read without problem, or records; returns the file or folder."""
    records = [
        sample if isinstance(sample, Record) else Record(f"my-{number}", sample.text, sample.entities)
        for number, sample in enumerate(samples, start=1)
    ]
    before = set(target.parent.iterdir())
    with write_together() as write:
        format.Reader(**options).write(iter(records), target, corpus_of(records), write)
    (path,) = set(target.parent.iterdir()) - before
    return path
