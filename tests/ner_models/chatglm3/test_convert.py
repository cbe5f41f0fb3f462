"""The conversion: what it writes and omits, what an interruption leaves behind, and how much memory it takes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chatglm_support import TINY, edit_config, random_tensors, write_checkpoint, write_full_size
from support import ROOT, Result

pytestmark = pytest.mark.train

Cli = Callable[..., Result]


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_tensor_arrives_bit_for_bit(cli: Cli, tmp_path: Path, tokenizer: Path, form: str, dtype: str) -> None:
    import torch
    from safetensors.torch import load_file

    old = write_checkpoint(tmp_path / "src", tokenizer, form=form, dtype=dtype)
    done = cli("ner-model", "convert-chatglm3", tmp_path / "src", tmp_path / "dst")
    assert done.code == 0, done.err
    assert (
        "tensors: read 25, used 24, dropped transformer.rotary_pos_emb.inv_freq (computed from the config)" in done.out
    )
    index = json.loads((tmp_path / "dst/model.safetensors.index.json").read_text())
    new = {k: v for shard in set(index["weight_map"].values()) for k, v in load_file(tmp_path / "dst" / shard).items()}
    assert set(new) == set(index["weight_map"])
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in new.values())
    layer, attention = "transformer.encoder.layers.1", "model.layers.1.self_attn"
    for kind in ("weight", "bias"):
        parts = [new[f"{attention}.{part}_proj.{kind}"] for part in "qkv"]
        assert [len(part) for part in parts] == [128, 64, 64]
        assert torch.equal(torch.cat(parts), old[f"{layer}.self_attention.query_key_value.{kind}"])
    assert torch.equal(new["lm_head.weight"], old["transformer.output_layer.weight"])
    assert torch.equal(new["model.embed_tokens.weight"], old["transformer.embedding.word_embeddings.weight"])
    assert torch.equal(new["model.layers.1.mlp.gate_up_proj.weight"], old[f"{layer}.mlp.dense_h_to_4h.weight"])
    elements = sum(t.numel() for name, t in old.items() if "inv_freq" not in name)
    assert sum(tensor.numel() for tensor in new.values()) == elements


def test_transformers_loads_the_result_without_remote_code_or_left_over_weights(
    cli: Cli, source: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    # The files of the original folder, and what each would do if it were imported.
    classes = {
        "AutoConfig": "remote.Remote",
        "AutoModelForCausalLM": "remote.Remote",
        "AutoTokenizer": ["remote.Remote", None],
    }
    edit_config(source, auto_map=classes)
    (source / "tokenizer_config.json").write_text(json.dumps({"auto_map": classes, "tokenizer_class": "Remote"}))
    (source / "remote.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Remote: pass\n")
    done = cli("ner-model", "convert-chatglm3", source, tmp_path / "dst")
    assert "weights: 100%" in done.err
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "dst", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (type(model).__name__, model.dtype) == ("GlmForCausalLM", torch.float32)
    config = AutoConfig.from_pretrained(tmp_path / "dst")
    assert config.eos_token_id == GenerationConfig.from_pretrained(tmp_path / "dst").eos_token_id == [2, 606, 608]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "dst")
    assert tokenizer.convert_tokens_to_ids(["</s>", "<|user|>", "<|observation|>"]) == [2, 606, 608]
    assert not (tmp_path / "ran").exists()
    assert not list((tmp_path / "dst").glob("*.py"))
    assert not any("auto_map" in path.read_text(encoding="utf-8") for path in (tmp_path / "dst").glob("*.json"))


def test_the_licence_of_the_weights_goes_with_them(cli: Cli, source: Path, tmp_path: Path) -> None:
    (source / "MODEL_LICENSE").write_text("terms")
    cli("ner-model", "convert-chatglm3", source, tmp_path / "dst")
    assert (tmp_path / "dst/MODEL_LICENSE").read_text() == "terms"


def test_chatglm2_is_converted_with_its_own_tokens_and_template(cli: Cli, source: Path, tmp_path: Path) -> None:
    edit_config(source, _name_or_path="THUDM/chatglm2-6b")
    done = cli("ner-model", "convert-chatglm3", source, tmp_path / "dst")
    assert done.code == 0 and "chatglm2" in done.out
    assert json.loads((tmp_path / "dst/config.json").read_text())["eos_token_id"] == [2]
    assert "<|user|>" not in (tmp_path / "dst/tokenizer.json").read_text(encoding="utf-8")
    assert "问：" in (tmp_path / "dst/chat_template.jinja").read_text(encoding="utf-8")


# --- interruption and size -------------------------------------------------------------------------------------------

SLOW_WRITER = """
import sys, time
from ner_models.chatglm3 import convert
written = convert.write_tokenizer
def wait(*args):
    print("weights written", flush=True)
    time.sleep(60)
convert.write_tokenizer = wait   # the fault: the process is stopped here
sys.argv = ["ner-model", "convert-chatglm3", *sys.argv[1:]]
from ner_models.cli import entry_point
entry_point()
"""


@pytest.mark.parametrize(("stop", "left"), [(signal.SIGINT, 0), (signal.SIGKILL, 1)])
def test_an_interrupted_conversion_leaves_no_folder_that_looks_finished(
    source: Path, tmp_path: Path, cli: Cli, stop: signal.Signals, left: int
) -> None:
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'tools'}"}
    command = [sys.executable, "-c", SLOW_WRITER, str(source), str(tmp_path / "dst")]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "weights written\n"
    process.send_signal(stop)
    _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
    assert not (tmp_path / "dst").exists()
    remains = list(tmp_path.glob("dst*"))
    assert len(remains) == left and all(".partial-" in p.name and not (p / "config.json").exists() for p in remains)
    again = cli("ner-model", "convert-chatglm3", source, tmp_path / "dst")
    assert again.code == 0 and (tmp_path / "dst/config.json").exists()
    assert again.err.count("left behind by an interrupted run") == left


@pytest.mark.slow
@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_a_full_size_checkpoint_is_converted_in_less_than_4_gib(tmp_path: Path, form: str) -> None:
    if shutil.disk_usage(tmp_path).free < 26e9:
        pytest.fail("the test needs 26 GB of free disk")
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'tools'}"}
    # Its own high-water mark: ru_maxrss starts from that of the parent process, which wrote the checkpoint.
    code = (
        "import atexit; atexit.register(lambda: print(*[x for x in open('/proc/self/status') if x.startswith('VmHWM')]));"
        "from ner_models.cli import entry_point; entry_point()"
    )
    try:
        total = write_full_size(tmp_path / "src", form, shards=7)
        assert total > 12.4e9
        started = time.monotonic()
        command = [sys.executable, "-c", code, "convert-chatglm3", str(tmp_path / "src"), str(tmp_path / "dst")]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
        seconds, peak = time.monotonic() - started, int(done.stdout.split("VmHWM:")[1].split()[0]) * 1024
        print(f"{form}: {total / 1e9:.1f} GB in {seconds:.0f} s, peak {peak / 2**20:.0f} MiB")
        assert done.returncode == 0
        assert peak < 4 * 2**30
        size = sum(path.stat().st_size for path in (tmp_path / "dst").glob("*.safetensors"))
        assert abs(size - total) < 1e6
    finally:
        shutil.rmtree(tmp_path / "src", ignore_errors=True)
        shutil.rmtree(tmp_path / "dst", ignore_errors=True)


def test_the_small_checkpoint_has_the_tensors_of_the_published_index(shared: Path) -> None:
    """Our fixture's names, against the index that THUDM published."""
    published = json.loads((shared / "chatglm3/pytorch_model.bin.index.json").read_text())["weight_map"]
    ours = random_tensors({**TINY, "num_layers": 28})
    assert set(ours) == set(published)
