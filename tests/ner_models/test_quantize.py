"""What `ner-model quantize` refuses, before a model is loaded: nothing is written, and one line says what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamafactory_ner.checks.configs import ModelConfig
from ner_data.alpaca import build_spec
from ner_data.corpus import load_corpus
from ner_data.gold import Entity, Record, write_gold
from ner_models.quantize import LENGTH, calibration, copy_the_rest, group_size
from serving_support import write_adapter, write_base
from support import Result, one_line_error

Cli = Callable[..., Result]
SIZES = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4}


@pytest.fixture
def model(workplace: Path) -> Path:
    """A merged model's folder with its prompt spec, and 40 records of train, of which 30 have gold."""
    records = [Record(f"t-{n}", f"林{n:02}在云帆任职", (Entity(0, 3, "name", f"林{n:02}"),)) for n in range(30)]
    bare = [Record(f"b-{n}", "云帆", None) for n in range(10)]
    write_gold(load_corpus("demo").gold_file("train"), [*records, *bare])
    folder = write_base(workplace / "models/merged")
    set_config(folder, **SIZES)
    build_spec(load_corpus("demo"), records, "json_list").save(folder / "ner_prompt.json")
    return folder


def set_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(cli: Cli, source: Path, *more: object, scheme: str = "awq") -> str:
    target = source.parent / "out"
    before = sorted(Path.cwd().rglob("*"))
    line = one_line_error(cli("ner-model", "quantize", source, target, "--scheme", scheme, *more))
    assert sorted(Path.cwd().rglob("*")) == before
    return line.removeprefix("ner-model: ")


def test_an_adapter_is_refused_until_it_is_merged(model: Path, cli: Cli) -> None:
    adapter = write_adapter(model.parent / "adapter", model)
    line = refused(cli, adapter)
    assert line == "models/adapter: is an adapter; merge it with `make merge`, and quantise models/NAME"


@pytest.mark.parametrize("scheme", ["awq", "int8"])
def test_a_model_is_not_quantised_twice(model: Path, cli: Cli, scheme: str) -> None:
    group = {"weights": {"num_bits": 8, "type": "int"}, "input_activations": {"num_bits": 8, "type": "int"}}
    set_config(model, quantization_config={"quant_method": "compressed-tensors", "config_groups": {"group_0": group}})
    said = "models/merged: is quantised already ({}); quantise the model that it was made of"
    assert refused(cli, model, scheme=scheme) == said.format("int8")
    set_config(model, quantization_config={"quant_method": "bitsandbytes"})
    assert refused(cli, model, scheme=scheme) == said.format("bitsandbytes")


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_target_that_exists_is_left_alone(model: Path, cli: Cli, make: Callable[[Path], None]) -> None:
    make(model.parent / "out")
    line = refused(cli, model, scheme="int8")
    assert line == "models/out: already exists; remove it or name another folder"


def test_more_samples_than_records_with_gold_are_refused(model: Path, cli: Cli) -> None:
    line = refused(cli, model)
    said = "data/gold/demo/train.jsonl: has 30 records with gold, fewer than the 256 to calibrate on; ask for fewer: "
    assert line.startswith(said + "--samples 30")
    assert "fewer than the 31 to" in refused(cli, model, "--samples", 31)


def test_calibration_data_that_are_missing_are_refused(model: Path, cli: Cli) -> None:
    gold = load_corpus("demo").gold_file("train")
    gold.unlink()
    assert refused(cli, model) == f"{gold}: no such file; run `make data CORPUS=demo`"
    (model / "ner_prompt.json").unlink()
    assert refused(cli, model).startswith("models/merged/ner_prompt.json: no such file; merge the adapter with")


def test_a_folder_without_a_whole_model_is_refused(model: Path, cli: Cli, tmp_path: Path) -> None:
    assert refused(cli, tmp_path / "nowhere").endswith("(no config.json); merge an adapter with `make merge`")
    (model / "model.safetensors").write_bytes(b"\0" * 20)
    assert refused(cli, model, scheme="int8").endswith("; merge or train the model again")
    (model / "model.safetensors").unlink()
    assert refused(cli, model, scheme="int8").startswith("models/merged: no *.safetensors")


def test_a_damaged_training_record_is_refused(model: Path, cli: Cli) -> None:
    (model / "ner_training.json").write_text("{")
    assert refused(cli, model, "--samples", 3).startswith("models/merged/ner_training.json:1: not JSON")


def test_a_full_disk_is_refused(model: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    used = shutil.disk_usage(model)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: used._replace(free=10))
    assert refused(cli, model, scheme="int8") == "models/out: needs 0.0 GB, 0.0 GB are free; make room"


@pytest.mark.parametrize("words", [["--scheme", "int4"], ["--scheme", "awq", "--samples", "0"], []])
def test_an_unknown_scheme_is_refused(model: Path, cli: Cli, words: list[str]) -> None:
    result = cli("ner-model", "quantize", model, model.parent / "out", *words)
    assert result.code == 2 and "Traceback" not in result.err and not (model.parent / "out").exists()


def test_without_llmcompressor_the_environment_is_named(model: Path, cli: Cli) -> None:
    line = refused(cli, model, scheme="int8")
    assert line == "llmcompressor is not installed here; `make quantize` builds its environment"


@pytest.mark.parametrize(
    ("sizes", "group"),
    [({}, 128), ({"intermediate_size": 448}, 64), ({"hidden_size": 192}, 64), ({"intermediate_size": 4896}, 32)],
)
def test_the_largest_group_that_divides_all_widths_is_used(sizes: dict[str, int], group: int) -> None:
    assert group_size(Path("models/x"), ModelConfig(**{**SIZES, **sizes})) == group


def test_a_model_whose_widths_no_group_divides_is_refused(model: Path, cli: Cli) -> None:
    set_config(model, hidden_size=264)
    said = "models/merged: no group of 32 weights or more divides its widths (264, 512); use int8"
    assert refused(cli, model, "--samples", 3) == said


def test_calibration_draws_the_same_records_with_gold_every_time(model: Path) -> None:
    drawn = calibration(model, 20, LENGTH, 64)
    assert len({record.id for record in drawn.records}) == 20
    assert all(record.entities for record in drawn.records)
    assert drawn == calibration(model, 20, LENGTH, 64)


def test_what_a_model_comes_with_is_copied_but_not_a_calibration_of_other_weights(tmp_path: Path) -> None:
    source, target = tmp_path / "merged", tmp_path / "quantised"
    source.mkdir()
    target.mkdir()
    kept = {"ner_prompt.json", "ner_training.json", "ner_held_out.json", "tokenizer.json"}
    for name in kept | {"ner_calibration.json", "model.safetensors", "Modelfile"}:
        (source / name).write_text(name)
    copy_the_rest(source, target)
    assert {path.name for path in target.iterdir()} == kept
