"""The conversion: what it writes, what it leaves out, and every source that it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatglm_support import TINY, random_tensors, train_tokenizer, write_checkpoint, write_full_size, write_shards
from support import ROOT, Result, one_line_error

pytestmark = pytest.mark.train

Cli = Callable[..., Result]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tiny")


@pytest.fixture
def source(tmp_path: Path, tokenizer: Path) -> Path:
    write_checkpoint(tmp_path / "src", tokenizer)
    return tmp_path / "src"


def edit_config(source: Path, **changes: Any) -> None:
    path = source / "config.json"
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not ...}))


def edit_tensors(source: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    tensors = random_tensors(json.loads((source / "config.json").read_text()))
    change(tensors)
    write_shards(source, tensors)


@pytest.fixture
def refused(cli: Cli, source: Path, tmp_path: Path) -> Callable[[], str]:
    """Convert a source that must be refused: one line, and nothing written."""

    def run() -> str:
        before = sorted(tmp_path.iterdir())
        message = one_line_error(cli("ner-model", "convert-chatglm3", source, tmp_path / "dst"))
        assert sorted(tmp_path.iterdir()) == before
        return message

    return run


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

    # What the original folder has, and what each of its files would do if it were imported.
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


# --- bad input -------------------------------------------------------------------------------------------------------


def test_a_target_that_exists_is_left_alone(cli: Cli, source: Path, tmp_path: Path) -> None:
    (tmp_path / "dst").mkdir()
    assert "exists already" in one_line_error(cli("ner-model", "convert-chatglm3", source, tmp_path / "dst"))
    assert list((tmp_path / "dst").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "_name_or_path": "Qwen/Qwen2-7B"},
            "Qwen/Qwen2-7B",
        ),
        (
            {"_name_or_path": "THUDM/glm-4-9b-chat", "rope_ratio": 500, "padded_vocab_size": 151552},
            "THUDM/glm-4-9b-chat",
        ),
        ({"_name_or_path": "THUDM/chatglm3-6b-32k", "rope_ratio": 50}, "rope_ratio is 50"),
        ({"_name_or_path": "THUDM/chatglm3-6b-int4", "quantization_bit": 4}, "THUDM/chatglm3-6b-int4"),
        (
            {"_name_or_path": "THUDM/chatglm-6b", "ffn_hidden_size": ..., "multi_query_group_num": ...},
            "THUDM/chatglm-6b",
        ),
        ({"_name_or_path": ..., "architectures": ["CogVLM"], "add_bias_linear": True}, "CogVLM"),
        ({"kv_channels": 64}, "4 heads of 64 do not make 128"),
        # The same shape, field by field.
        ({"_name_or_path": "THUDM/codegeex2-6b"}, "THUDM/codegeex2-6b"),
        ({"_name_or_path": "THUDM/chatglm3-6b-base", "seq_length": 32768}, "THUDM/chatglm3-6b-base"),
        ({"_name_or_path": "/data/chatglm2-6b-32k"}, "/data/chatglm2-6b-32k"),
    ],
)
def test_another_model_is_refused_by_name(
    refused: Callable[[], str], source: Path, changes: dict[str, Any], named: str
) -> None:
    edit_config(source, **changes)
    message = refused()
    assert named in message and "is not chatglm3-6b or chatglm2-6b" in message


@pytest.mark.parametrize("name", ["/data/chatglm3-6b", "output/checkpoint-300", "me/chatglm3-6b-ner", ...])
def test_a_model_trained_further_is_converted_under_any_name(
    cli: Cli, source: Path, tmp_path: Path, name: Any
) -> None:
    edit_config(source, _name_or_path=name)
    assert cli("ner-model", "convert-chatglm3", source, tmp_path / "dst").code == 0


def test_a_source_that_is_no_checkpoint_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert "no such folder" in one_line_error(
        cli("ner-model", "convert-chatglm3", tmp_path / "none", tmp_path / "dst")
    )
    (tmp_path / "empty").mkdir()
    assert "config.json: no such file" in one_line_error(
        cli("ner-model", "convert-chatglm3", tmp_path / "empty", tmp_path / "dst")
    )


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_a_missing_shard_is_named(cli: Cli, tmp_path: Path, tokenizer: Path, form: str) -> None:
    write_checkpoint(tmp_path / "src", tokenizer, form=form)
    (gone,) = (tmp_path / "src").glob("*-00002-of-00002.*")
    gone.unlink()
    message = one_line_error(cli("ner-model", "convert-chatglm3", tmp_path / "src", tmp_path / "dst"))
    assert "lacks 1 of 2 shards" in message and gone.name in message


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("keep", [0, 4, 5_000, -1])
def test_a_truncated_shard_is_named(cli: Cli, tmp_path: Path, tokenizer: Path, form: str, keep: int) -> None:
    write_checkpoint(tmp_path / "src", tokenizer, form=form)
    (shard,) = (tmp_path / "src").glob("*-00002-of-00002.*")
    shard.write_bytes(shard.read_bytes()[:keep])
    message = one_line_error(cli("ner-model", "convert-chatglm3", tmp_path / "src", tmp_path / "dst"))
    assert shard.name in message and "download it again" in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["src"]


def test_a_shard_with_a_damaged_header_is_refused(refused: Callable[[], str], source: Path) -> None:
    shard = source / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:8] + b"\xff" + shard.read_bytes()[9:])
    assert "header is damaged" in refused()


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(cli: Cli, tmp_path: Path, tokenizer: Path) -> None:
    import torch

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    write_checkpoint(tmp_path / "src", tokenizer, form="bin")
    torch.save({"transformer.output_layer.weight": Hostile()}, tmp_path / "src/pytorch_model-00001-of-00002.bin")
    assert "weights only" in one_line_error(cli("ner-model", "convert-chatglm3", tmp_path / "src", tmp_path / "dst"))
    assert not (tmp_path / "owned").exists()


def test_an_index_that_leads_out_of_its_folder_is_refused(refused: Callable[[], str], source: Path) -> None:
    (source / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../elsewhere.safetensors"}}')
    assert "not an index of weight files" in refused()


def test_no_weights_at_all_is_said(refused: Callable[[], str], source: Path) -> None:
    for path in source.glob("model*"):
        path.unlink()
    assert "no weights" in refused()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.pop("transformer.output_layer.weight"), "transformer.output_layer.weight is missing"),
        (lambda t: t.update({"transformer.extra": t["transformer.output_layer.weight"]}), "transformer.extra is no tensor of"),
        (lambda t: t.update({"transformer.prefix_encoder.embedding.weight": t["transformer.output_layer.weight"]}), "import-prefix"),
        (
            lambda t: t.update({"transformer.output_layer.weight": t["transformer.output_layer.weight"][1:].clone()}),
            "transformer.output_layer.weight has shape [767, 128], the config says [768, 128]",
        ),
        (lambda t: t.update({"transformer.output_layer.weight": t["transformer.output_layer.weight"].half()}), "several types"),
        (lambda t: t.update({"transformer.output_layer.weight": t["transformer.output_layer.weight"].char()}), "is I8"),
    ],
)  # fmt: skip
def test_every_tensor_must_be_accounted_for(
    refused: Callable[[], str], source: Path, change: Any, problem: str
) -> None:
    edit_tensors(source, change)
    assert problem in refused()


def test_a_tensor_in_two_shards_is_refused(refused: Callable[[], str], source: Path) -> None:
    from safetensors.torch import load_file, save_file

    first, second = sorted(source.glob("*.safetensors"))
    save_file(load_file(second) | dict([next(iter(load_file(first).items()))]), second)
    message = refused()
    assert "stands in two shards (again in model-00002-of-00002.safetensors)" in message
    assert "transformer." in message


def test_all_problems_with_the_tensors_are_told_at_once(cli: Cli, source: Path, tmp_path: Path) -> None:
    edit_config(source, num_layers=2)
    done = cli("ner-model", "convert-chatglm3", source, tmp_path / "dst")
    assert done.code == 2 and done.err.count("is no tensor of chatglm3-6b") == 7


@pytest.mark.parametrize(("pieces", "rows"), [(600, 1024), (600, 512), (600, 65024)])
def test_a_tokenizer_of_another_size_is_refused(
    refused: Callable[[], str], source: Path, pieces: int, rows: int
) -> None:
    edit_config(source, padded_vocab_size=rows)
    assert f"has {pieces} pieces, which do not fit the {rows} rows" in refused()


def test_a_tokenizer_that_has_a_special_token_as_a_piece_is_refused(
    refused: Callable[[], str], source: Path, tmp_path: Path
) -> None:
    train_tokenizer(source / "tokenizer", words=("sop ",) * 40)
    (source / "tokenizer.vocab").unlink()
    assert "has ['sop'] as pieces" in refused()


def test_a_tokenizer_that_is_none_or_of_another_kind_is_refused(refused: Callable[[], str], source: Path) -> None:
    import sentencepiece

    path = source / "tokenizer.model"
    path.unlink()
    assert "tokenizer.model: no such file" in refused()
    path.write_bytes(b"\xffnot a model")
    assert "not a SentencePiece model" in refused()
    text = iter(["hello world", "the quick brown fox jumps over the lazy dog"] * 20)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=text, model_prefix=str(source / "other"), vocab_size=30, model_type="unigram", minloglevel=2
    )
    (source / "other.model").rename(path)
    (source / "other.vocab").unlink()
    assert "model type BPE, byte fallback, no normalisation" in refused()


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
    assert again.err.count("left from an interrupted run") == left


@pytest.mark.slow
@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_a_full_size_checkpoint_is_converted_in_less_than_4_gib(tmp_path: Path, form: str) -> None:
    if shutil.disk_usage(tmp_path).free < 26e9:
        pytest.fail("the test needs 26 GB of free disk")
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'tools'}"}
    # Its own high-water mark: ru_maxrss begins with that of the process it was forked from, which wrote the checkpoint.
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
