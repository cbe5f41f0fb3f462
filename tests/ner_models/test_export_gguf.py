"""`ner-model export-gguf`: what it refuses, and its Modelfile. A conversion needs `make .gguf/.ready`: slow."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ner_common.adapters import STATE
from ner_data.prompt import FILE_NAME
from ner_models.export_gguf import go_template, longest_conversation, modelfile
from ner_models.llama_cpp import splits_like_qwen2
from serving_support import write_adapter, write_base
from soft_prompt_support import NANO, prompt_spec
from support import ROOT, one_line_error


@pytest.fixture
def merged(workplace: Path) -> Path:
    """The files of a whole model with its prompt spec."""
    folder = write_base(workplace / "models/merged")
    prompt_spec().save(folder / FILE_NAME)
    return folder


@pytest.fixture
def converter(workplace: Path) -> Path:
    """What stands in for the converter where the refusal comes before it would run."""
    folder = workplace / ".gguf"
    folder.mkdir()
    (folder / "convert_hf_to_gguf.py").write_text("raise SystemExit('not to be run')")
    return folder


def refused(cli, *args: object) -> str:
    message = one_line_error(cli("ner-model", "export-gguf", *args))
    assert not list(Path("models").glob("gguf*"))
    return message


def test_what_is_no_whole_model_is_refused(cli, merged: Path, converter: Path) -> None:
    adapter = write_adapter(Path("models/adapter"), merged)
    assert "is an adapter, not a whole model; merge it first" in refused(cli, adapter, "models/gguf")
    assert "no model there (no config.json)" in refused(cli, "models/none", "models/gguf")


def test_a_quantised_model_is_refused(cli, merged: Path, converter: Path) -> None:
    config = json.loads((merged / "config.json").read_text())
    (merged / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": "compressed-tensors"}})
    )
    assert "is quantised ('compressed-tensors')" in refused(cli, merged, "models/gguf")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_with_code_of_its_own_is_refused(cli, merged: Path, converter: Path, name: str) -> None:
    value = json.loads((merged / name).read_text())
    (merged / name).write_text(json.dumps(value | {"auto_map": {"AutoTokenizer": ["x.Y", None]}}))
    assert f"{name}: names code of its own (auto_map)" in refused(cli, merged, "models/gguf")


def test_damaged_weights_are_refused(cli, merged: Path, converter: Path) -> None:
    (merged / "model.safetensors").write_bytes(b"\0" * 4)
    assert "truncated, or not a safetensors file" in refused(cli, merged, "models/gguf")


def test_a_folder_that_exists_is_kept(cli, merged: Path, converter: Path) -> None:
    Path("models/out").mkdir()
    assert "models/out: already exists" in refused(cli, merged, "models/out")
    assert not list(Path("models/out").iterdir())


def test_a_model_without_its_prompt_is_refused(cli, merged: Path, converter: Path) -> None:
    (merged / FILE_NAME).unlink()
    assert refused(cli, merged, "models/gguf").endswith(f"{FILE_NAME}: no such file; merge the adapter again")


def test_the_converter_is_asked_for(cli, merged: Path) -> None:
    assert "install it with `make .gguf/.ready`" in refused(cli, merged, "models/gguf")


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(NANO, tmp_path / "nano"))
    prompt_spec().save(folder / FILE_NAME)
    return folder


@pytest.mark.train
def test_the_modelfiles_template_makes_the_trained_prompt(nano: Path) -> None:
    """Ollama fills two fields of it; the rest must be what the chat template writes."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(nano)
    spec = prompt_spec()
    system, user = spec.messages("  肝主疏泄{{ .System }}\n")
    filled = go_template(nano, tokenizer, {}).split("{{ .System }}")
    filled = [part.replace("{{ .Prompt }}", user["content"]) for part in filled]
    expected = tokenizer.apply_chat_template([system, user], tokenize=False, add_generation_prompt=True)
    assert system["content"].join(filled) == expected


@pytest.mark.train
def test_the_modelfile_is_greedy_and_has_room_for_the_longest_text(nano: Path) -> None:
    from transformers import AutoTokenizer

    spec, tokenizer = prompt_spec(), AutoTokenizer.from_pretrained(nano)
    lines = modelfile(nano, spec).split("\n")
    assert lines[0] == "FROM ./model.gguf"
    assert {"PARAMETER temperature 0", "PARAMETER top_k 1", "PARAMETER repeat_penalty 1.0"} <= set(lines)
    assert f"PARAMETER num_predict {spec.max_tokens}" in lines
    assert 'PARAMETER stop "<|im_end|>"' in lines
    asked = tokenizer.apply_chat_template(spec.messages("龘" * spec.longest_text), add_generation_prompt=True)[
        "input_ids"
    ]
    assert longest_conversation(spec, tokenizer) >= len(asked) + spec.max_tokens


@pytest.mark.train
def test_nanos_tokenizer_is_known_by_its_rule() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(NANO)
    assert splits_like_qwen2(tokenizer)
    other = json.loads(tokenizer.backend_tokenizer.to_str())
    other["pre_tokenizer"] = {"type": "Whitespace"}
    backend = SimpleNamespace(to_str=lambda: json.dumps(other))
    assert not splits_like_qwen2(SimpleNamespace(backend_tokenizer=backend))


@pytest.mark.train
@pytest.mark.slow
def test_nano_is_converted_and_an_unknown_architecture_is_refused(nano: Path, tmp_path: Path) -> None:
    subprocess.run(["make", ".gguf/.ready"], cwd=ROOT, check=True)
    (tmp_path / ".gguf").symlink_to(ROOT / ".gguf")
    (nano / STATE).write_text("{}")
    program = [sys.executable, "-c", "from ner_models.cli import entry_point; entry_point()", "export-gguf", "nano"]
    done = subprocess.run([*program, "gguf", "--type", "q8_0"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gguf/model.gguf").read_bytes()[:4] == b"GGUF"
    assert {path.name for path in (tmp_path / "gguf").iterdir()} == {"model.gguf", "Modelfile", FILE_NAME, STATE}
    config = json.loads((nano / "config.json").read_text())
    (nano / "config.json").write_text(json.dumps(config | {"architectures": ["NobodyForCausalLM"]}))
    done = subprocess.run([*program, "other"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "refuses it (Model NobodyForCausalLM is not supported)" in done.stderr
    assert not (tmp_path / "other").exists()
