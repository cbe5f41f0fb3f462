"""Fingerprints distinguish retrained weights from copies, without reading large files completely."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ner_common.fingerprints import other_weights, safetensors_header, weights_fingerprint
from support import ROOT

NANO = ROOT / "data/nano"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(NANO / name, folder)
    return folder


def change(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_copy_is_the_same_model_wherever_it_is(model: Path) -> None:
    assert weights_fingerprint(model) == weights_fingerprint(NANO)
    assert not other_weights(model, NANO) and not other_weights(model, model)


def test_changed_weights_and_a_changed_configuration_change_it(model: Path) -> None:
    before = weights_fingerprint(model)
    change(model / "model.safetensors", -1)
    assert weights_fingerprint(model) != before
    assert other_weights(model, NANO)
    change(model / "model.safetensors", -1)
    assert weights_fingerprint(model) == before
    (model / "config.json").write_text((model / "config.json").read_text("utf-8") + " ", "utf-8")
    assert weights_fingerprint(model) != before
    assert not other_weights(model, NANO)  # the tensors are the same


def test_training_changes_it_although_only_blocks_of_a_large_file_are_read(tmp_path: Path) -> None:
    size = 64 << 20
    values = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    path = tmp_path / "model.safetensors"
    path.write_bytes(values.tobytes())
    before = weights_fingerprint(tmp_path)
    trained = values.copy()
    trained[::4096] ^= 1  # training changes every tensor, not single bytes
    path.write_bytes(trained.tobytes())
    assert weights_fingerprint(tmp_path) != before


def test_without_weights_there_is_none(tmp_path: Path) -> None:
    assert weights_fingerprint(None) is weights_fingerprint(tmp_path) is weights_fingerprint(tmp_path / "none") is None


def test_other_tensors_are_another_model_and_not_other_weights(model: Path) -> None:
    data = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(data.replace(b'"model.norm.weight"', b'"model.xxxx.weight"'))
    assert safetensors_header(model / "model.safetensors") != safetensors_header(NANO / "model.safetensors")
    assert not other_weights(model, NANO)
