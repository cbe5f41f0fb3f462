"""What `ner-model serve` and `export` make of soft-prompt adapters, without vLLM: plans, requests, refusals."""

import json
from pathlib import Path

import pytest

from ner_models.adapter import load_adapter
from ner_models.soft_prompt_names import apply, refusal
from ner_models.soft_prompts import plan
from support import one_line_error

CONFIG = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
SPECIAL = [("<|endoftext|>", 7), ("<|im_end|>", 8), ("<|im_start|>", 9)]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The files of a base model that are read before vLLM starts."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    tokens = [{"id": number, "content": text, "special": True} for text, number in SPECIAL]
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": "{{ messages }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def adapter(base: Path, tmp_path: Path):
    def write(name: str, kind: str, **changes: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        width = 24 if kind == "PREFIX_TUNING" else 48
        config = {"peft_type": kind, "base_model_name_or_path": str(base), "num_virtual_tokens": 3, "num_layers": 3}
        (folder / "adapter_config.json").write_text(json.dumps(config | {"token_dim": width} | changes))
        (folder / "adapter_model.safetensors").write_bytes(b"")
        return folder

    return write


def test_a_prefix_and_a_p_tuning_adapter_are_planned_together(base: Path, adapter, tmp_path: Path) -> None:
    prefix, virtual = adapter("a", "PREFIX_TUNING"), adapter("b", "P_TUNING", num_virtual_tokens=2)
    planned = plan(base, "tiny", [load_adapter("a", prefix), load_adapter("b", virtual)], 1024, tmp_path)
    assert planned.names == ["a", "b"]
    settings = json.loads(planned.environment["NER_SOFT_PROMPTS"])
    assert settings["soft_prompts"] == {
        "a": {"text": "<|im_start|>" * 3, "prefix": True},
        "b": {"text": "<|ner_virtual_0|><|ner_virtual_1|>", "prefix": False},
    }
    transfer = json.loads(planned.arguments[planned.arguments.index("--kv-transfer-config") + 1])
    prefixes = {"a": {"path": str(prefix), "tokens": 3}}
    assert transfer["kv_connector_extra_config"] == {"placeholder": 9, "prefixes": prefixes}
    template = Path(planned.arguments[planned.arguments.index("--chat-template") + 1])
    assert template.read_text() == "{{- soft_prompt | default('') -}}{{ messages }}"


def test_without_soft_prompts_nothing_is_added_to_vllm(base: Path, tmp_path: Path) -> None:
    planned = plan(base, "tiny", [], 1024, tmp_path / "unused")
    assert (planned.names, planned.arguments, planned.environment) == ([], [], {})
    assert not (tmp_path / "unused").exists()


def test_a_request_keeps_its_own_template_arguments_and_salt() -> None:
    request = {"model": "a", "chat_template_kwargs": {"x": 1}, "cache_salt": "mine"}
    changed = apply(request, "a", {"text": "ttt", "prefix": True})
    assert changed["chat_template_kwargs"] == {"x": 1, "soft_prompt": "ttt"}
    salts = {
        apply({"cache_salt": own}, name, {"text": "t", "prefix": True})["cache_salt"]
        for own in ("mine", None)
        for name in "ab"
    }
    assert changed["cache_salt"] in salts and len(salts) == 4
    assert changed["kv_transfer_params"] == {"prefix": "a"}
    assert request == {"model": "a", "chat_template_kwargs": {"x": 1}, "cache_salt": "mine"}
    assert "kv_transfer_params" not in apply(request, "a", {"text": "ttt", "prefix": False})


def test_a_request_that_would_lose_the_prefix_is_refused() -> None:
    assert refusal("/v1/chat/completions", {"model": "a", "messages": []}) is None
    assert "only" in str(refusal("/v1/completions", {"model": "a"}))
    assert "truncate_prompt_tokens" in str(
        refusal("/v1/chat/completions", {"model": "a", "truncate_prompt_tokens": 9})
    )


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("PREFIX_TUNING", {"num_layers": 28}, "was trained on another base (layers 28"),
        ("PREFIX_TUNING", {"token_dim": 48}, "was trained on another base (width 48"),
        ("P_TUNING", {"token_dim": 64}, "was trained on another base (width 64"),
        ("PREFIX_TUNING", {"num_virtual_tokens": 1024}, "1024 virtual tokens leave no room in 1024"),
        ("IA3", {}, "LoRA and soft prompts are served, not IA3"),
    ],
)
def test_serve_refuses_an_adapter_that_does_not_fit(cli, adapter, kind, changes, said) -> None:
    assert said in one_line_error(cli("ner-model", "serve", adapter("a", kind, **changes), "--dry-run"))


def test_two_p_tuning_adapters_are_served_apart(cli, adapter) -> None:
    folders = adapter("a", "P_TUNING"), adapter("b", "P_TUNING")
    assert "served apart" in one_line_error(cli("ner-model", "serve", *folders, "--dry-run"))


def test_two_adapters_that_claim_one_name_are_refused(cli, adapter) -> None:
    folders = f"x={adapter('a', 'PREFIX_TUNING')}", f"x={adapter('b', 'PREFIX_TUNING')}"
    assert "the name x is claimed twice" in one_line_error(cli("ner-model", "serve", *folders, "--dry-run"))


@pytest.mark.parametrize("kind", ["LORA", "PREFIX_TUNING"])
def test_export_refuses_what_cannot_be_baked(cli, adapter, tmp_path: Path, kind: str) -> None:
    said = one_line_error(cli("ner-model", "export", adapter("a", kind), tmp_path / "out"))
    assert f"is a {kind} adapter" in said
    assert not (tmp_path / "out").exists()


def test_export_refuses_a_folder_that_exists(cli, adapter, tmp_path: Path) -> None:
    assert "exists already" in one_line_error(cli("ner-model", "export", adapter("a", "P_TUNING"), tmp_path))
