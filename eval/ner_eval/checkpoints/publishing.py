"""Putting a checkpoint in the place of the last: the files of the adapter become those of the checkpoint.

Nothing reads two of the replaced files together but the fingerprint: a server reads the weights, further training the
encoder, and the configurations say the same. So each is replaced as a whole, and what ``selected`` in
``ner_training.json`` says counts only with the weights whose fingerprint it names. After a kill in between, the folder
holds the last state and names no choice, and the same command completes it.
"""

import os
import shutil
from pathlib import Path

from ner_common.adapters import ADAPTER_CONFIG, ENCODER_FILE, STATE, WEIGHTS
from ner_common.errors import UserError, rooted
from ner_common.files import locked, remove_leftovers, temporary_of, whole_folder
from ner_common.fingerprints import file_fingerprint
from ner_common.training_record import FILE_NAME as RECORD
from ner_common.training_record import Selected, add_to_record, load_training_record
from ner_data.prompt import FILE_NAME
from ner_eval.checkpoints.candidates import FINAL, Candidate

REPLACED = (ADAPTER_CONFIG, ENCODER_FILE, WEIGHTS)  # the weights last: they are what is served


def publish_checkpoint(adapter: Path, candidates: list[Candidate], best: Candidate, selected: Selected) -> bool:
    """Make an adapter's folder hold the best of its candidates, and say so in its training record.

    A last state that no checkpoint holds is kept as `FINAL` first.

    Returns:
        Whether the adapter was another one before.

    Raises:
        UserError: another process does the same, or weights changed since the candidates were read.
    """
    with locked(adapter, "another process is replacing this adapter; wait for it, and run this again"):
        remove_leftovers(adapter, lambda name: name in (*REPLACED, RECORD))
        before = file_fingerprint(adapter / WEIGHTS)
        known = {candidate.tensors for candidate in candidates}
        if before not in known or file_fingerprint(best.folder / WEIGHTS) != best.tensors:
            raise UserError(f"{rooted(adapter)}: was trained again while its checkpoints were asked; run this again")
        if best.folder == adapter:
            _record(adapter, selected)
            return False
        if any(candidate.folder == adapter for candidate in candidates):
            _keep(adapter)
        _record(adapter, selected)
        _replace(best.folder, adapter)
        return before != best.tensors


def _record(adapter: Path, selected: Selected) -> None:
    """Name the choice in the training record, unless it does: the time stays that of the choice."""
    before = load_training_record(adapter, "train again").selected
    if before is None or before.without_time != selected.without_time:
        add_to_record(adapter, selected=selected)


def _keep(adapter: Path) -> None:
    """Copy the state that an adapter's folder holds to `FINAL` inside it."""
    with whole_folder(adapter / FINAL) as kept:
        for name in (*REPLACED, STATE, FILE_NAME):
            if (adapter / name).is_file():
                _copy(adapter / name, kept / name)


def _replace(source: Path, adapter: Path) -> None:
    """Replace an adapter's files; all new ones are on the disk before the first is renamed."""
    copies = {}
    try:
        for name in REPLACED:
            if (source / name).is_file():
                copies[temporary := temporary_of(adapter / name)] = adapter / name
                _copy(source / name, temporary)
        for temporary, path in copies.items():
            temporary.replace(path)
    finally:
        for temporary in copies:
            temporary.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("wb") as new:
        shutil.copyfileobj(old, new, 1 << 20)
        new.flush()
        os.fsync(new.fileno())
