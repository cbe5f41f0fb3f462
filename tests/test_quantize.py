"""Quantising a merged nano with the real llmcompressor, and serving the result with the real vLLM; llama.cpp likewise."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llamafactory_ner.checks.configs import read_model_config
from make_support import copy_with_demo, link_environments, make
from ner_common.machine import cpu_flags
from ner_common.weights import stored_tensors
from ner_data.gold import read_gold
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_models.quantize import Calibration, calibration
from ner_models.schemes import stored_scheme
from support import ROOT, Result, free_port, one_line_error, tool, with_extras

RECORDS = 20  # of the test split: enough to see that answers are counted
MERGED = "models/nano-lora-demo"
OPTIONS = ["MODEL=nano", "CORPUS=demo", "ACCELERATOR=cpu", "PYTHON=false"]


@pytest.mark.train
def test_calibration_sees_the_token_ids_of_training(
    chain: Path, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path
) -> None:
    from transformers import AutoTokenizer

    from ner_data.preview import encode
    from ner_models.compression import batches

    monkeypatch.chdir(chain)
    shutil.copy("data/alpaca/demo.prompt.json", tmp_path / "ner_prompt.json")
    used = calibration(tmp_path, 2000, 4096, 64)
    tokenizer = AutoTokenizer.from_pretrained("data/nano")
    found = [batch["input_ids"].tolist() for batch in batches(tokenizer, used)]
    _, trained = encode(Path("recipes/nano/lora.yaml"), [], 2000)
    assert sorted(ids for (ids,) in found) == sorted(list(ids) for ids, _ in trained)
    assert "are cut" not in capsys.readouterr().out
    short = [batch["input_ids"].shape for batch in batches(tokenizer, Calibration(used.prompt, used.records, 64, 64))]
    assert set(short) == {(1, 64)}
    assert "note: 2000 of 2000 records are cut after 64 tokens; --length raises that" in capsys.readouterr().out


def quantise(folder: Path, *words: object) -> Result:
    command = [tool(".venv-quantize", "ner-model"), "quantize", *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return Result(done.returncode, done.stdout, done.stderr)


def tensors(folder: Path) -> dict[str, str]:
    """Name -> type of the stored tensors."""
    return {name: tensor.dtype for name, tensor in stored_tensors(folder / "model.safetensors").items()}


def check_scheme(folder: Path, scheme: str) -> None:
    config = read_model_config(folder)
    assert config and stored_scheme(config) == scheme


@pytest.fixture(scope="module")
def merged(chain: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with a merged nano, and a test split of `RECORDS` records."""
    folder = copy_with_demo(chain, tmp_path_factory.mktemp("quantised"))
    link_environments(folder, (".venv-quantize",))
    gold = folder / "data/gold/demo/test.jsonl"
    gold.write_text("".join(gold.read_text(encoding="utf-8").splitlines(keepends=True)[:RECORDS]), encoding="utf-8")
    shutil.copytree(adapter, folder / "saves/nano/lora/demo")
    done = make("merge", *OPTIONS, "SPLIT=test", "ARGS=", folder=folder, timeout=600)
    assert (folder / MERGED / "model.safetensors").is_file(), done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.mark.serve
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_merged_model_in_8_bits_is_served_and_evaluated(merged: Path) -> None:
    done = make("quantize", *OPTIONS, "SCHEME=int8", folder=merged, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = merged / f"{MERGED}-int8"
    check_scheme(folder, "int8")
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is True
    types = tensors(folder)
    assert "lm_head.weight" not in types and types["model.embed_tokens.weight"] == "F32"  # tied, as it was
    assert {types[name] for name in types if name.endswith("_proj.weight")} == {"I8"}
    for name in ("ner_prompt.json", "trainer_state.json", "tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (merged / MERGED / name).read_bytes()
    record: dict[str, Any] = json.loads((folder / "ner_training.json").read_text())
    before, after = ((part / "model.safetensors").stat().st_size for part in (merged / MERGED, folder))
    stored = record.pop("quantized")
    assert stored.pop("at") > record["started"]
    assert stored == {"scheme": "int8", "group": 0, "samples": 0, "bytes": after, "bytes_before": before}
    assert after < 0.6 * before
    assert f"{MERGED}-int8: int8, {after / 1e6:.1f} MB of {before / 1e6:.1f} MB\n" in done.stdout
    assert record == json.loads((merged / MERGED / "ner_training.json").read_text())

    port = f"PORT={free_port()}"
    try:
        done = make("serve", "eval", *OPTIONS, "QUANTIZED=int8", port, folder=merged, timeout=1200)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        (hint,) = [line.removeprefix("try: ") for line in done.stdout.splitlines() if line.startswith("try: ")]
        tried = subprocess.run(["bash", "-c", hint], cwd=merged, capture_output=True, text=True, timeout=120)
    finally:
        make("stop", *OPTIONS, port, folder=merged)
    assert tried.returncode == 0, tried.stderr
    assert f"answers: {RECORDS};" in done.stdout and "Micro" in done.stdout
    manifest = json.loads((merged / "runs/nano-lora-demo-int8-test/manifest.json").read_text(encoding="utf-8"))
    assert manifest["model"] == "nano-lora-demo-int8" and manifest["training"]["quantized"]["scheme"] == "int8"

    again = quantise(merged, f"{MERGED}-int8", "models/twice", "--scheme", "awq")
    assert "models/nano-lora-demo-int8: is quantised already (int8)" in one_line_error(again)
    assert "already exists" in one_line_error(quantise(merged, MERGED, f"{MERGED}-int8", "--scheme", "int8"))


@pytest.mark.serve
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_4_bits_are_calibrated_and_served_where_the_cpu_can(merged: Path) -> None:
    done = make("quantize", *OPTIONS, "SCHEME=awq", "ARGS=--samples 4", folder=merged, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = merged / f"{MERGED}-awq"
    check_scheme(folder, "awq")
    types = tensors(folder)
    assert types["model.layers.0.mlp.down_proj.weight_packed"] == "I32" and "lm_head.weight" not in types
    stored = json.loads((folder / "ner_training.json").read_text())["quantized"]
    assert (stored["group"], stored["samples"]) == (64, 4)  # 128 does not divide nano's widths
    port = f"PORT={free_port()}"
    try:
        served = make("serve", "eval", *OPTIONS, "QUANTIZED=awq", port, folder=merged, timeout=1200)
    finally:
        make("stop", *OPTIONS, port, folder=merged)
    if "avx512f" in (cpu_flags() or ()):
        assert served.returncode == 0 and f"answers: {RECORDS};" in served.stdout, served.stderr
    else:
        assert served.returncode == 2 and served.stdout == ""
        assert "4-bit weights need AVX-512 on a CPU, which this one lacks; use int8: " in served.stderr
        assert "note: this machine cannot serve the result: 4-bit weights need AVX-512" in done.stdout


# llama.cpp's server: GGUF file, port, tokens of context, name.
LLAMA_CPP = """
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_ctx, params.model_alias = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
params.hostnames, params.n_parallel, params.use_jinja = ["127.0.0.1"], 1, True
server = xllamacpp.Server(params)
threading.Event().wait()
"""


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_llama_cpp_gives_the_answers_of_the_merged_model(merged: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ner_models.merged import greedy

    subprocess.run(["make", ".gguf/.ready"], cwd=ROOT, check=True)
    (merged / ".gguf").symlink_to(ROOT / ".gguf")
    done = make("gguf", *OPTIONS, "ARGS=--type f32", folder=merged, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    folder, name, port = merged / f"{MERGED}-gguf", "nano-gguf", free_port()
    (context,) = [line.split()[2] for line in (folder / "Modelfile").read_text().splitlines() if "num_ctx" in line]
    words = [tool(".venv-train", "python"), "-c", LLAMA_CPP, str(folder / "model.gguf"), str(port), context, name]
    ask = [tool(".venv", "ner-eval"), "predict", "--model", name, "--adapter", str(folder), "--corpus", "demo"]
    with (merged / "llama.log").open("wb") as log:
        server = subprocess.Popen(words, env=with_extras(), stdout=log, stderr=log)
        try:
            more = f"--split test --run runs/gguf --base-url http://127.0.0.1:{port}/v1 --wait 120".split()
            done = subprocess.run([*ask, *more], cwd=merged, capture_output=True, text=True, timeout=600)
        finally:
            server.kill()
            server.wait()
    assert done.returncode == 0, done.stderr + (merged / "llama.log").read_text(errors="replace")[-2000:]
    lines = (merged / "runs/gguf/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    given = {stored["id"]: stored["answer"] for stored in map(json.loads, lines)}
    records = list(read_gold(merged / "data/gold/demo/test.jsonl"))
    model = AutoModelForCausalLM.from_pretrained(merged / MERGED, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(merged / MERGED, padding_side="left")
    expected = list(greedy(model, tokenizer, PromptSpec.load(folder / FILE_NAME, ""), records, "transformers"))
    differ = [record.text for record, answer in zip(records, expected, strict=True) if given[record.id] != answer]
    assert len(given) == RECORDS and len(differ) <= RECORDS // 10, differ
    manifest = json.loads((merged / "runs/gguf/manifest.json").read_text(encoding="utf-8"))
    assert manifest["training"]["quantized"]["scheme"] == "gguf_f32"


GLM = """
import sys
from transformers import GlmConfig, GlmForCausalLM
sizes = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
more = dict(head_dim=32, vocab_size=5120, pad_token_id=0, eos_token_id=0, tie_word_embeddings=False)
GlmForCausalLM(GlmConfig(**sizes, **more)).save_pretrained(sys.argv[1])
"""


@pytest.mark.serve
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scheme", ["awq", "int8"])
def test_glm_is_quantised_with_mappings_of_its_own(chain: Path, tmp_path: Path, scheme: str) -> None:
    """A random model of chatglm3's architecture with nano's tokenizer."""
    source = tmp_path / "glm"
    subprocess.run([tool(".venv-quantize", "python"), "-c", GLM, str(source)], check=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(ROOT / "data/nano" / name, source / name)
    shutil.copyfile(chain / "data/alpaca/demo.prompt.json", source / "ner_prompt.json")
    done = quantise(chain, source, tmp_path / "out", "--scheme", scheme, "--samples", 4)
    assert done.code == 0, done.err[-3000:]
    check_scheme(tmp_path / "out", scheme)
    stored = "weight_packed" if scheme == "awq" else "weight_scale"
    quantised = {name.split(".")[-2] for name in tensors(tmp_path / "out") if name.endswith(stored)}
    assert quantised == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"}
    if scheme == "awq" and "avx512f" not in (cpu_flags() or ()):
        return
    body = {"model": "glm", "messages": [{"role": "user", "content": "林晓"}], "max_tokens": 8, "temperature": 0}
    request = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (tmp_path / "requests").write_text(json.dumps(request) + "\n")
    words = ["answer-batch", f"glm={tmp_path / 'out'}", "--max-model-len", "512"]
    files = ["--requests", str(tmp_path / "requests"), "--results", str(tmp_path / "results")]
    asked = subprocess.run([tool(".venv-serve", "ner-model"), *words, *files], capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr[-3000:]
    (reply,) = map(json.loads, (tmp_path / "results").read_text(encoding="utf-8").splitlines())
    assert reply["response"]["body"]["usage"]["completion_tokens"] >= 1
