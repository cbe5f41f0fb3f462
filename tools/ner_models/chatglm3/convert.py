"""``ner-model convert-chatglm3 SRC DST``: an original chatglm3-6b (or chatglm2-6b) as a native ``glm`` checkpoint.

The result is loaded by transformers, PEFT, LLaMA-Factory and vLLM without remote code. Everything is checked before
anything is written; the result is written to ``DST.partial-<process id>`` and renamed when it is complete.
"""

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ner_common.errors import UserError, UserErrors, rooted
from ner_common.files import check_free, whole_folder, write_json
from ner_models.chatglm3.config import Shape, glm_config, read_config
from ner_models.chatglm3.shards import TORCH_NAMES, Chunk, Stored, find_shards, open_shard, write_shard
from ner_models.chatglm3.tokenizer import check_size, end_ids, read_pieces, write_tokenizer
from ner_models.chatglm3.weights import DROPPED, Wanted, plan, problems

LICENCES = ("MODEL_LICENSE", "MODEL_LICENSE.txt", "LICENSE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", type=Path, help="The folder of the original checkpoint.")
    parser.add_argument("target", metavar="DST", type=Path, help="The folder to write; it must not exist yet.")


def run(args: argparse.Namespace) -> None:
    print(convert(args.source, args.target))


@dataclass(frozen=True, slots=True)
class Conversion:
    """A finished conversion: the new folder, the sizes of the model, and what became of its tensors.

    Attributes:
        used: number of tensors that were copied.
        dropped: names of those that the native model does not need.
        size: bytes of the new tensors.
    """

    target: Path
    shape: Shape
    used: int
    dropped: list[str]
    size: int

    def __str__(self) -> str:
        """Three lines for the user."""
        shape, dropped = self.shape, "".join(f", dropped {name} ({DROPPED[name]})" for name in self.dropped)
        return (
            f"{rooted(self.target)}: chatglm{shape.version} as glm, {shape.layers} layers, {self.size / 1e9:.2f} GB\n"
            f"tensors: read {self.used + len(self.dropped)}, used {self.used}{dropped}, rejected 0\n"
            f"tokenizer and chat template: chatglm{shape.version} (by the name {shape.name})"
        )


def convert(source: Path, target: Path) -> Conversion:
    """Convert one checkpoint, with progress on stderr.

    Raises:
        UserError: the target exists; the source is another model, incomplete or damaged; too little disk space.
    """
    check_free(target)
    shape = read_config(source)
    pieces = read_pieces(source / "tokenizer.model")
    check_size(pieces, shape.vocab)
    shards = find_shards(source)
    dtype = check_weights(source, shards, plan(shape))
    check_room(target, shards)
    with whole_folder(target) as partial:
        used, dropped, size = write_weights(shards, partial, plan(shape))
        write_tokenizer(partial, pieces, shape)
        for name in LICENCES:
            if (source / name).is_file():
                shutil.copyfile(source / name, partial / name)
        eos = end_ids(pieces, shape)
        # No sampling defaults: vLLM would apply them to every request without its own.
        write_json(partial / "generation_config.json", {"eos_token_id": eos, "pad_token_id": 0})
        write_json(partial / "config.json", glm_config(shape, TORCH_NAMES[dtype], eos))
    return Conversion(target, shape, used, dropped, size)


def check_weights(source: Path, shards: list[Path], wanted: dict[str, Wanted]) -> str:
    """Compare all tensors with what the config asks for, using only the files' headers; returns their common type.

    Raises:
        UserErrors: every missing, unknown, duplicate or misshapen tensor.
    """
    found: dict[str, tuple[int, ...]] = {}
    types: dict[str, str] = {}
    lines = []
    for path in shards:
        for name, stored in open_shard(path).items():
            if name in found:
                lines.append(f"{name} is in two shards (again in {path.name})")
            found[name] = stored.shape
            if name not in DROPPED:
                types.setdefault(stored.dtype, name)
    lines += problems(wanted, found)
    if len(types) > 1:
        examples = ", ".join(f"{name} {dtype}" for dtype, name in types.items())
        lines.append(f"the tensors have several types ({examples})")
    if lines:
        raise UserErrors(f"{rooted(source)}: {line}" for line in lines)
    return next(iter(types))


def check_room(target: Path, shards: list[Path]) -> None:
    """Refuse to start if the result would not fit on the disk."""
    folder = target.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = sum(path.stat().st_size for path in shards) + 10**7, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{rooted(target)}: needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make room")


def write_weights(shards: list[Path], partial: Path, wanted: dict[str, Wanted]) -> tuple[int, list[str], int]:
    """Write one shard per source shard, and the index: (tensors used, names dropped, bytes written)."""
    weight_map: dict[str, str] = {}
    dropped: list[str] = []
    used = size = 0
    total = sum(path.stat().st_size for path in shards)
    progress: tqdm[Any]
    with tqdm(total=total, unit="B", unit_scale=True, desc="weights", mininterval=0.5) as progress:
        for number, path in enumerate(shards, start=1):
            tensors = open_shard(path)
            dropped += [name for name in tensors if name in DROPPED]
            sources = {name: stored for name, stored in tensors.items() if name in wanted}
            used += len(sources)
            name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            entries = [
                (target.name, stored.dtype, (target.stop - target.start, *stored.shape[1:]))
                for source, stored in sources.items()
                for target in wanted[source].targets
            ]
            weight_map |= {entry[0]: name for entry in entries}
            size += write_shard(partial / name, entries, _copied(sources, wanted, progress))
        progress.update(total - progress.n)  # headers, and what is dropped
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(partial / "model.safetensors.index.json", index)
    return used, dropped, size


def _copied(sources: dict[str, Stored], wanted: dict[str, Wanted], progress: "tqdm[Any]") -> Iterator[Chunk]:
    for name, stored in sources.items():
        for target in wanted[name].targets:
            for chunk in stored.read(target.start, target.stop):
                progress.update(memoryview(chunk).nbytes)
                yield chunk
