"""How `ner-model serve` and `export` handle soft-prompt adapters, without vLLM: plans, requests, refusals."""

import json
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ner_models.serving import serve
from ner_models.serving.adapters import load_adapter
from ner_models.serving.baking import baked_folder
from ner_models.serving.middleware import VARIABLE, apply, refusal
from ner_models.serving.soft_prompts import SoftPrompts, plan, virtual_tokens
from serving_support import write_adapter, write_tensor
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
    write_tensor(folder / "model.safetensors")
    return folder


@pytest.fixture
def adapter(base: Path, tmp_path: Path):
    def write(name: str, kind: str, **changes: object) -> Path:
        own = {} if kind == "LORA" else {"num_virtual_tokens": 3, "num_layers": 3}
        own |= {"token_dim": 24 if kind == "PREFIX_TUNING" else 48}
        return write_adapter(tmp_path / name, base, peft_type=kind, **own | changes)

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
    assert planned.files[template] == "{{- soft_prompt | default('') -}}{{ messages }}"


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


@pytest.mark.parametrize("command", ["serve", "export"])
def test_an_adapter_of_a_base_of_the_same_shape_is_refused(cli, base: Path, adapter, tmp_path: Path, command) -> None:
    shutil.copytree(base, tmp_path / "other")
    for folder, content in ((base, b"\1"), (tmp_path / "other", b"\2")):
        write_tensor(folder / "model.safetensors", "model.embed_tokens.weight", (320, 48), content)
    target = [tmp_path / "out"] if command == "export" else ["--dry-run"]
    for kind in ["P_TUNING"] if command == "export" else ["LORA", "PREFIX_TUNING"]:
        given = adapter(kind, kind, r=8)
        said = one_line_error(cli("ner-model", command, given, *target, "--base", tmp_path / "other"))
        assert f"was trained on another base (the weights in {tmp_path / 'other'} differ); name {base}" in said
    assert not (tmp_path / "out").exists()


LAYER = "base_model.model.model.layers"


@pytest.mark.parametrize(
    ("name", "shape", "changes", "said"),
    [
        (f"{LAYER}.27.self_attn.q_proj.lora_A.weight", (8, 48), {}, "(layers 28, "),
        (f"{LAYER}.1.self_attn.q_proj.lora_A.weight", (8, 48), {}, "(layers 2, "),
        (f"{LAYER}.2.self_attn.q_proj.lora_A.weight", (8, 64), {}, "(width 64, "),
        (f"{LAYER}.2.mlp.down_proj.lora_B.weight", (64, 8), {}, "(width 64, "),
        (f"{LAYER}.2.mlp.down_proj.lora_A.weight", (8, 96), {}, None),
        (f"{LAYER}.1.self_attn.q_proj.lora_A.weight", (8, 48), {"layers_to_transform": [1]}, None),
        (f"{LAYER}.1.self_attn.q_proj.lora_A.weight", (8, 48), {"target_modules": ["1.self_attn.q_proj"]}, None),
    ],
)
def test_a_lora_adapter_of_another_shape_is_refused(cli, base, adapter, name, shape, changes, said) -> None:
    folder = adapter("a", "LORA", r=8, **{"target_modules": ["q_proj", "down_proj"], **changes})
    write_tensor(folder / "adapter_model.safetensors", name, shape)
    message = cli("ner-model", "serve", folder, "--base", base, "--dry-run").err
    assert ("was trained on another base" in message) == (said is not None)
    assert said is None or said in message


@pytest.mark.parametrize(
    ("trained_on", "warned"),
    [("models/other", True), ("Qwen/Tiny", False), ("old/place/tiny", False), ("models/tiny-glm", False)],
)
def test_a_base_of_another_name_is_warned_of_once(cli, base: Path, adapter, trained_on: str, warned: bool) -> None:
    given = adapter("a", "P_TUNING", base_model_name_or_path=trained_on)
    lines = cli("ner-model", "serve", given, "--base", base, "--dry-run").err.splitlines()
    found = [line for line in lines if line.startswith("warning: ")]
    assert len(found) == warned
    assert not warned or ("was trained on models/other, not on" in found[0] and "base_model_name_or_path" in found[0])


def test_p_tuning_adapters_have_virtual_tokens_of_their_own_in_one_base(base: Path, adapter, tmp_path: Path) -> None:
    given = [load_adapter(name, adapter(name, "P_TUNING")) for name in ("a", "b")]
    planned = plan(base, "tiny", given, 1024, tmp_path)
    texts = [entry["text"] for entry in json.loads(planned.environment[VARIABLE])["soft_prompts"].values()]
    tokens = [re.findall(r"<\|[^|]+\|>", text) for text in texts]
    assert [len(own) for own in tokens] == [one.config.num_virtual_tokens for one in given]
    every = tokens[0] + tokens[1]
    assert sorted(every) == sorted(virtual_tokens(len(every)))
    assert baked_folder(given, base) not in (baked_folder(given[:1], base), baked_folder(given[1:], base))


def test_two_adapters_that_claim_one_name_are_refused(cli, adapter) -> None:
    folders = f"x={adapter('a', 'PREFIX_TUNING')}", f"x={adapter('b', 'PREFIX_TUNING')}"
    assert "two models are called x;" in one_line_error(cli("ner-model", "serve", *folders, "--dry-run"))


@pytest.mark.parametrize("kind", ["LORA", "PREFIX_TUNING"])
def test_export_refuses_what_cannot_be_baked(cli, adapter, tmp_path: Path, kind: str) -> None:
    said = one_line_error(cli("ner-model", "export", adapter("a", kind), tmp_path / "out"))
    assert f"is a {kind} adapter" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_layers": 28}, "was trained on another base (layers 28"),
        ({"num_virtual_tokens": 1024}, "1024 virtual tokens leave no room in 1024; train a shorter one"),
    ],
)
def test_export_refuses_an_adapter_that_does_not_fit(cli, adapter, tmp_path: Path, changes, said) -> None:
    assert said in one_line_error(cli("ner-model", "export", adapter("a", "P_TUNING", **changes), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_export_refuses_a_folder_that_exists(cli, adapter, tmp_path: Path) -> None:
    assert "already exists" in one_line_error(cli("ner-model", "export", adapter("a", "P_TUNING"), tmp_path))


def test_logprobs_are_taken_after_the_mask_only_if_virtual_tokens_are_baked_in(base: Path, adapter, tmp_path) -> None:
    prefix, virtual = (load_adapter(kind, adapter(kind, kind)) for kind in ("PREFIX_TUNING", "P_TUNING"))
    for adapters, changed in (([prefix], False), ([virtual], True), ([prefix, virtual], True)):
        planned = plan(base, "tiny", adapters, 1024, tmp_path)
        assert ("--logprobs-mode processed_logprobs" in " ".join(planned.arguments)) == changed
        assert any("logprobs of all models" in note for note in planned.notes) == changed


def test_two_bases_of_one_name_have_templates_of_their_own(base: Path, adapter, tmp_path: Path) -> None:
    given = [load_adapter("a", adapter("a", "PREFIX_TUNING"))]
    one = plan(base, "tiny", given, 1024, tmp_path).files
    assert plan(base, "tiny", given, 1024, tmp_path).files == one
    (base / "chat_template.jinja").write_text("{{ other }}")
    other = plan(base, "tiny", given, 1024, tmp_path).files
    assert not one.keys() & other.keys()


def test_two_serves_at_once_bake_one_copy(
    base: Path, adapter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given, calls = load_adapter("a", adapter("a", "P_TUNING")), []

    def bake(adapters: object, base: Path, out: Path) -> float:
        calls.append(out)
        time.sleep(0.3)
        out.mkdir(parents=True)
        return 40.0

    monkeypatch.setattr(serve, "bake_checkpoint", bake)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: serve.prepare(base, [given], {}, SoftPrompts()), range(4)))
    assert len(calls) == 1 and calls[0].is_dir()
