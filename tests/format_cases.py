"""The examples of every corpus format, from its own tests: `GOOD` and `MALFORMED` of tests/ner_data/formats/test_NAME.py.

Run as a program, it writes docs/formats.md (what each format is, and what its reader says of malformed input) and the
table of formats in both READMEs.
"""

import re
import tempfile
from collections.abc import Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from ner_common.errors import UserError
from ner_data.describe import details, table
from ner_data.formats import Sample, format_class, format_names, load_format
from ner_data.source import Source
from support import ROOT

PAGE = ROOT / "docs/formats.md"
READMES = [ROOT / "README.md", ROOT / "README_zh.md"]
_TABLE = re.compile(r"(<!-- formats: [^\n]*-->\n).*?(<!-- end of formats -->)", re.DOTALL)
Files = bytes | dict[str, bytes]


def cases(name: str) -> ModuleType:
    """The test module of a format."""
    path = ROOT / f"tests/ner_data/formats/test_{name}.py"
    spec = spec_from_file_location(f"cases_{name}", path)
    assert spec and spec.loader, path
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put(folder: Path, files: Files) -> Source:
    """Write the file, or the files, of a case into an empty folder.

    Of several files, one called ``tags…`` holds the tags of the other; otherwise the folder is the source.
    """
    if isinstance(files, bytes):
        path = folder / "raw"
        path.write_bytes(files)
        return Source(path)
    for file, data in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    return source_of(folder)


def source_of(folder: Path) -> Source:
    """What a format wrote into a folder, as a source."""
    found = sorted(folder.iterdir())
    tags = [path for path in found if "tags" in path.name]
    if len(found) == 2 and tags:
        return Source(next(path for path in found if path not in tags), tags=tags[0])
    return Source(found[0] if len(found) == 1 else folder)


def outcome(name: str, source: Source, gold: bool = True) -> list[Sample] | str:
    """The samples of a file, or the one line that refuses it."""
    try:
        return list(load_format(name).read(source, gold))
    except UserError as error:
        return str(error)


def said(name: str, files: Files) -> str:
    """What the reader of a format says of a malformed input."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "raw"
        folder.mkdir()
        found = outcome(name, put(folder, files))
        if isinstance(found, str):
            return re.sub(r"\S*/raw(?=[:;])", "raw", re.sub(r"\S*/raw/", "", found))
        problems = [sample for sample in found if sample.problem]
        assert problems, (name, files)
        assert problems[0].problem
        return f"{problems[0].file or 'raw'}:{problems[0].line}: {problems[0].problem[1]}"


def page() -> Iterator[str]:
    """The lines of docs/formats.md."""
    yield "# Formats of raw files"
    yield ""
    yield "Written by `.venv/bin/python tests/format_cases.py` from the modules in `tools/ner_data/formats` and their tests."
    yield "`ner-data formats NAME` shows the same descriptions."
    for name in format_names():
        yield f"\n## `{name}`: {format_class(name).title}\n"
        assert import_module(format_class(name).__module__).__doc__
        yield f"```text\n{details(name)}\n```\n"
        yield "| malformed input | what is said |"
        yield "| --- | --- |"
        for what, files in cases(name).MALFORMED:
            yield f"| {_cell(what)} | {_cell(said(name, files))} |"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")


def written(readme: Path) -> str:
    """A README with the table of formats as the code has it."""
    text, count = _TABLE.subn(lambda found: f"{found[1]}\n{table()}\n\n{found[2]}", readme.read_text("utf-8"))
    assert count == 1
    return text


if __name__ == "__main__":
    PAGE.write_text("\n".join(page()) + "\n", "utf-8")
    for readme in READMES:
        readme.write_text(written(readme), "utf-8")
