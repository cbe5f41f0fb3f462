"""Every source that the conversion refuses: in one line, before anything is written."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatglm_support import edit_config, edit_tensors, train_tokenizer, write_checkpoint
from support import Result, one_line_error

pytestmark = pytest.mark.train

Cli = Callable[..., Result]


def test_a_target_that_exists_is_left_alone(cli: Cli, source: Path, tmp_path: Path) -> None:
    (tmp_path / "dst").mkdir()
    assert "already exists" in one_line_error(cli("ner-model", "convert-chatglm3", source, tmp_path / "dst"))
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
        (lambda t: t.update({"transformer.extra": t["transformer.output_layer.weight"]}), "transformer.extra is not a tensor of"),
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
    assert "is in two shards (again in model-00002-of-00002.safetensors)" in message
    assert "transformer." in message


def test_all_problems_with_the_tensors_are_told_at_once(cli: Cli, source: Path, tmp_path: Path) -> None:
    edit_config(source, num_layers=2)
    done = cli("ner-model", "convert-chatglm3", source, tmp_path / "dst")
    assert done.code == 2 and done.err.count("is not a tensor of chatglm3-6b") == 7


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
