"""Tables of Hugging Face ``datasets``: Parquet and Arrow files, and folders that have them. Only data, never code."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from ner_common.decoding import decode_json
from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import read_json
from ner_data.source import REMEDY, Source

ROWS = 1000  # that are decoded at a time
_SHARD = re.compile(r"(?P<split>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(?:-[0-9a-f]+)?\.parquet")


class _State(msgspec.Struct):
    class File(msgspec.Struct):
        filename: str

    files: list[File] = msgspec.field(name="_data_files")


class _Splits(msgspec.Struct):
    splits: list[str]


def pyarrow() -> ModuleType:
    """The library.

    Raises:
        UserError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("this format needs the package pyarrow: pip install pyarrow") from None
    return pyarrow  # type: ignore[no-any-return]


def data_files(path: Path) -> list[Path]:
    """The files of a split: a file itself, those that `Dataset.save_to_disk` wrote, or the shards of a Parquet file.

    Raises:
        UserError: there are none; some are missing; or the folder has several splits.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{rooted(path)}: no such file or folder; {REMEDY}")
    if (path / "state.json").is_file():
        names = [file.filename for file in read_json(path / "state.json", "save the dataset again", _State).files]
        if not names or any("/" in name or "\\" in name or name in (".", "..") for name in names):
            raise UserError(
                f"{rooted(path / 'state.json')}: names no data files in this folder; save the dataset again"
            )
        if missing := [name for name in names if not (path / name).is_file()]:
            raise UserError(
                f"{rooted(path)}: lacks {escaped(missing[0])}, which state.json names; copy the whole folder"
            )
        return [path / name for name in names]
    if (path / "dataset_dict.json").is_file():
        splits = read_json(path / "dataset_dict.json", "save the dataset again", _Splits).splits
        raise UserError(f"{rooted(path)}: has the splits {escaped(', '.join(splits))}; name the folder of one of them")
    return _shards(path)


def _shards(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.parquet"))
    if not files:
        problem = "no state.json, as Dataset.save_to_disk writes it, and no .parquet in this folder"
        raise UserError(f"{rooted(folder)}: {problem}; name the folder or file of a split")
    shards = [_SHARD.fullmatch(file.name) for file in files]
    splits = sorted({shard["split"] if shard else file.stem for file, shard in zip(files, shards, strict=True)})
    if len(splits) > 1:
        problem = f"has Parquet files of several splits: {escaped(', '.join(splits))}"
        raise UserError(f"{rooted(folder)}: {problem}; name one file, or have a folder for each split")
    if shards[0] and len(files) != int(shards[0]["count"]):
        problem = f"has {len(files)} of {int(shards[0]['count'])} files of the split {escaped(splits[0])}"
        raise UserError(f"{rooted(folder)}: {problem}; download the others")
    return files


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises about a file into a UserError."""
    library = pyarrow()
    try:
        yield
    except (
        library.ArrowException,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        MemoryError,
    ) as error:
        problem = str(error).strip() or type(error).__name__
        raise UserError(
            f"{rooted(path)}: cannot be read ({escaped(problem, 160)}); download or save it again"
        ) from None


def columns_of(path: Path) -> tuple[list[str], bytes]:
    """The names of the columns of a Parquet or Arrow file, and what `datasets` says of them, JSON.

    Raises:
        UserError: it is neither, or damaged.
    """
    with _errors(path), _opened(path) as (schema, _):
        return list(schema.names), (schema.metadata or {}).get(b"huggingface", b"{}")


def rows(path: Path, source: Source, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Some columns of a Parquet or Arrow file, in pieces of at most `ROWS` rows; ``source`` is told the bytes.

    Raises:
        UserError: it is neither, or damaged.
    """
    done = 0
    with _errors(path), _opened(path, columns) as (_, batches):
        for batch, read in batches:
            batch.validate(full=True)  # or offsets may lead anywhere
            known = batch.select(columns)
            for at in range(0, batch.num_rows, ROWS):
                yield known.slice(at, ROWS).to_pylist()
            source.tick(read - done)
            done = read


@contextmanager
def _opened(path: Path, columns: Sequence[str] = ()) -> Iterator[tuple[Any, Iterator[tuple[Any, int]]]]:
    """The schema of a file, and its record batches with the bytes read so far, roughly."""
    library = pyarrow()
    with path.open("rb") as file:
        start, size = file.read(6), path.stat().st_size
    if start[:4] == b"PAR1":
        with library.parquet.ParquetFile(path) as table:
            yield table.schema_arrow, _parquet(table, size, columns)
    elif start == b"ARROW1" or start[:4] == b"\xff\xff\xff\xff":
        with library.OSFile(str(path), "rb") as file:
            reader = library.ipc.open_file(file) if start == b"ARROW1" else library.ipc.open_stream(file)
            yield reader.schema, ((batch, file.tell()) for batch in _batches(reader))
    else:
        raise UserError(f"{rooted(path)}: is neither a Parquet nor an Arrow file")


def _parquet(table: Any, size: int, columns: Sequence[str]) -> Iterator[tuple[Any, int]]:
    read = 0
    for batch in table.iter_batches(batch_size=ROWS, columns=list(columns)):
        read += batch.num_rows
        yield batch, size * read // max(table.metadata.num_rows, 1)


def _batches(reader: Any) -> Iterator[Any]:
    if not hasattr(reader, "get_batch"):
        return iter(reader)
    return (reader.get_batch(number) for number in range(reader.num_record_batches))


def tag_names(about: bytes, path: Path, column: str) -> tuple[str, ...] | None:
    """The names of a column of tags, from what its file says of it or from ``dataset_info.json`` next to it.

    Raises:
        UserError: the latter is not JSON.
    """
    try:
        inside = decode_json(about)
    except ValueError:
        inside = {}
    info = path.with_name("dataset_info.json")
    beside = read_json(info, "save the dataset again") if info.is_file() else {}
    for features in (_look(inside, "info", "features"), _look(beside, "features")):
        for key in ("feature", 0):  # a list was written as a list with its feature in earlier versions
            names = _look(features, column, key, "names")
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                return tuple(names)
    return None


def _look(value: Any, *keys: str | int) -> Any:
    """A part of a decoded JSON value, None if it is not there."""
    for key in keys:
        try:
            value = value[key]
        except (LookupError, TypeError):
            return None
    return value


def metadata(names: Sequence[str]) -> dict[str, str]:
    """The metadata of a Parquet file with ``id``, ``tokens`` and ``ner_tags``, for `datasets.load_dataset`."""
    text = {"dtype": "string", "_type": "Value"}
    features = {
        "id": text,
        "tokens": {"feature": text, "_type": "Sequence"},
        "ner_tags": {"feature": {"names": list(names), "_type": "ClassLabel"}, "_type": "Sequence"},
    }
    return {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)}


def missing(path: Path, name: str, option: str, names: Sequence[str]) -> UserError:
    """The error of a column that is not there."""
    problem = f"has no column {one_line(name)}, only {escaped(', '.join(names)) or 'none'}"
    return UserError(f"{rooted(path)}: {problem}; name it with `options: {{{option}: COLUMN}}`")
