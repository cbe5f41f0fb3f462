"""The states of an adapter that a training left behind: ``checkpoint-STEP`` in its folder, and what the folder holds.

All of them must be of the one training: the same configuration and tensor shapes, the same prompt, and losses that are
the beginning of those of the whole training. A folder that was left by an earlier training is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from ner_common.adapters import ADAPTER_CONFIG, ENCODER_FILE, STATE, WEIGHTS, is_whole_model
from ner_common.decoding import decode_json
from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import read_json, read_text
from ner_common.fingerprints import file_fingerprint, weights_fingerprint
from ner_common.training_record import TrainingRecord
from ner_common.weights import stored_tensors
from ner_data.prompt import FILE_NAME, PromptSpec

FINAL = "checkpoint-final"  # the end of the training, if it is no checkpoint
PREFIX = "checkpoint-"
MAKE_SOME = 'train with more of them: make train … ARGS="save_steps=100 save_total_limit=20"'
_CHECKPOINT = re.compile(rf"{PREFIX}([1-9][0-9]{{0,11}}|final)")
# transformers writes not-a-number and infinity (an overflow of fp16, say) in a way that is not JSON.
_NOT_FINITE = re.compile(r"(?<=[:\[,] )(?:NaN|-?Infinity)(?=[,\]}\s])")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A state that can be chosen.

    Attributes:
        name: ``checkpoint-400``.
        step, epoch: how long it was trained; epoch is None if that is not recorded.
        loss: on the held-out records, if the training measured it there.
        weights: the fingerprint of all that is stored.
        tensors: of the file that is served; two folders with the same hold the same state.
    """

    name: str
    folder: Path
    step: int
    epoch: float | None
    loss: float | None
    weights: str
    tensors: str

    def served_as(self, model: str) -> str:
        """The name to serve it under, for a model of this name: ``nano-lora-demo@400``."""
        return f"{model}@{self.name.removeprefix(PREFIX)}"


class _State(Struct, frozen=True):
    """What is used of transformers' ``trainer_state.json``."""

    global_step: Annotated[int, Meta(ge=1, lt=10**12)]
    epoch: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    log_history: list[dict[str, Any]] = []

    @property
    def loss(self) -> float | None:
        """The loss on the held-out records at the last step."""
        measured = [entry.get("eval_loss") for entry in self.log_history if entry.get("step") == self.global_step]
        return next((float(loss) for loss in measured if isinstance(loss, float | int)), None)


def candidates(adapter: Path, record: TrainingRecord, spec: PromptSpec) -> list[Candidate]:
    """The different states in an adapter's folder, by step.

    Args:
        record: how the adapter was trained.
        spec: its prompt.

    Raises:
        UserError: there are fewer than two, or one is incomplete, damaged, or of another training.
    """
    check_adapter(adapter)
    whole = _state(adapter)
    found = [_candidate(folder, adapter, whole, spec) for folder in _folders(adapter)]
    if not found:
        raise UserError(f"{rooted(adapter)}: has no checkpoints to choose from; {MAKE_SOME}")
    last = _fingerprints(adapter)
    if last[1] not in {candidate.tensors for candidate in found}:
        if (adapter / FINAL).exists():
            problem = f"is not the state that {rooted(adapter)} ended with"
            raise UserError(f"{rooted(adapter / FINAL)}: {problem}; move it away")
        if (chosen := record.selected) and chosen.weights == last[0]:  # its checkpoint has been removed since
            found.append(Candidate(FINAL, adapter, chosen.step, None, None, *last))
        else:
            found.append(Candidate(FINAL, adapter, whole.global_step, whole.epoch, whole.loss, *last))
    distinct = {candidate.tensors: candidate for candidate in reversed(found)}
    if len(distinct) < 2:
        raise UserError(f"{rooted(adapter)}: has one state only, so there is nothing to choose; {MAKE_SOME}")
    return sorted(distinct.values(), key=lambda candidate: (candidate.step, candidate.name))


def check_adapter(adapter: Path) -> None:
    """Refuse a folder that holds no adapter.

    Raises:
        UserError: see above.
    """
    if not adapter.is_dir():
        raise UserError(f"{rooted(adapter)}: no such folder; name an adapter's: saves/MODEL/METHOD/CORPUS")
    if is_whole_model(adapter):
        problem = "a whole model, and one server cannot hold all its checkpoints"
        remedy = "evaluate them one by one: make serve eval ADAPTER=…/checkpoint-N"
        raise UserError(f"{rooted(adapter)}: {problem}; {remedy}")
    for name in (ADAPTER_CONFIG, WEIGHTS):
        if not (adapter / name).is_file():
            remedy = "finish the training (the same `make train` continues it), or name another folder"
            raise UserError(f"{rooted(adapter)}: has no {name}, so it holds no trained adapter; {remedy}")


def _folders(adapter: Path) -> list[Path]:
    """The checkpoints of an adapter's folder, by step; the end of the training comes last."""
    numbers = {path: found[1] for path in adapter.iterdir() if (found := _CHECKPOINT.fullmatch(path.name))}
    return sorted(
        (path for path in numbers if path.is_dir()), key=lambda path: int(numbers[path].replace("final", f"{10**12}"))
    )


def _candidate(folder: Path, adapter: Path, whole: _State, spec: PromptSpec) -> Candidate:
    """A checkpoint, checked.

    Raises:
        UserError: see `candidates`.
    """
    needed = [STATE, *(name for name in (ADAPTER_CONFIG, WEIGHTS, ENCODER_FILE) if (adapter / name).is_file())]
    if lacking := [name for name in needed if not (folder / name).is_file()]:
        problem = f"lacks {', '.join(lacking)}, as if saving it was interrupted or it is another kind of adapter"
        raise UserError(f"{rooted(folder)}: {problem}; move it away")
    state = _state(folder)
    if difference := next(_differences(folder, adapter, state, whole, spec), None):
        problem = f"is not of the training that wrote {rooted(adapter)} ({difference})"
        raise UserError(f"{rooted(folder)}: {problem}; move it away")
    return Candidate(folder.name, folder, state.global_step, state.epoch, state.loss, *_fingerprints(folder))


def _differences(folder: Path, adapter: Path, state: _State, whole: _State, spec: PromptSpec) -> Iterator[str]:
    """How a checkpoint differs from the adapter whose training it is said to be of."""
    ours, theirs = _config(folder), _config(adapter)
    for key in sorted({*ours, *theirs}):
        if ours.get(key) != theirs.get(key):
            there, here = one_line(ours.get(key), 60), one_line(theirs.get(key), 60)
            yield f"{escaped(key, 60)} is {there} there, {here} in {ADAPTER_CONFIG} of the adapter"
    for name in (WEIGHTS, ENCODER_FILE):
        if (adapter / name).is_file() and _shapes(folder / name) != _shapes(adapter / name):
            yield f"{name} has other tensors than the adapter's"
    number = folder.name.removeprefix(PREFIX)
    if number.isdigit() and state.global_step != int(number):
        yield f"its {STATE} says step {state.global_step}"
    if state.log_history != whole.log_history[: len(state.log_history)]:
        yield f"its {STATE} has other losses"
    path = folder / FILE_NAME
    if path.is_file():
        own = PromptSpec.load(path, "restore it, or move the checkpoint away")
        if own.fingerprint != spec.fingerprint:
            yield f"it has another prompt, {own.fingerprint}"


def _config(folder: Path) -> dict[str, Any]:
    """PEFT's configuration; the order of names in it has no meaning and changes from process to process."""
    value = read_json(folder / ADAPTER_CONFIG, "restore it, or move the folder away", dict[str, Any])
    return {
        key: sorted(item) if isinstance(item, list) and all(isinstance(name, str) for name in item) else item
        for key, item in value.items()
    }


def _shapes(path: Path) -> dict[str, tuple[str, list[int]]]:
    """Name -> type and shape of the tensors of a file.

    Raises:
        UserError: it is truncated or damaged.
    """
    try:
        return {name: (tensor.dtype, tensor.shape) for name, tensor in stored_tensors(path).items()}
    except ValueError as error:
        raise UserError(f"{rooted(path)}: {error}; restore it, or move the checkpoint away") from None


def _state(folder: Path) -> _State:
    """What a folder's ``trainer_state.json`` says.

    Raises:
        UserError: it is missing or not transformers'.
    """
    path, remedy = folder / STATE, "restore it, or train again"
    text = _NOT_FINITE.sub("null", read_text(path, remedy))
    try:
        return decode_json(text, _State)
    except ValueError as error:
        raise UserError(f"{rooted(path)}: not the state of a training ({error}); {remedy}") from None


def _fingerprints(folder: Path) -> tuple[str, str]:
    """Of all that a folder with `WEIGHTS` stores, and of these."""
    return weights_fingerprint(folder) or "", file_fingerprint(folder / WEIGHTS)
