"""Edited configurations of adapters and bases, weights, descriptions and arguments: used rightly, or refused in one line."""

import copy
import json
import random
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llamafactory_ner.checks.adapters import adapter_problems, training_problems
from llamafactory_ner.checks.base_model import base_doubt
from llamafactory_ner.checks.configs import read_adapter_config
from ner_common.weights import check_weights
from ner_models.base_models import base_model_of, load_base_model, model_names
from ner_models.chatglm3.config import read_config
from ner_models.download import is_complete
from ner_models.serving.serve import serve
from serving_support import allowed, write_adapter
from support import ROOT

NANO = ROOT / "data/nano"
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 8, 513, 2**31, 2**64, 10**400, 0.5, -1e300, "", "x", "8", "\x1b[2J\nx", "\0", "y" * 5000,
    "../..", "--trust-remote-code", "(((", [], [1], ["q_proj"], [None], [["a"]], {}, {"a": 1}, {"(": 4}, {"q_proj": "8"},
    {"q_proj": 0}, {"q_proj": 600},
]  # fmt: skip
RAW = [
    b"",
    b"[]",
    b"null",
    b"5",
    b'"x"',
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"r": NaN}',
    b'{"r": ' + b"9" * 5000 + b"}",
]


@pytest.fixture(autouse=True)
def stand_in(install: Callable[[str], None], workplace: Path) -> None:
    install("vllm_cpu")
    (workplace / "data/nano").symlink_to(NANO)


def configurations(rng: random.Random, folders: list[Path], count: int) -> Iterator[tuple[Path, bytes]]:
    """Adapter folders and edited contents of their configurations: every field alone first, then several at once."""
    known = [(folder, json.loads((folder / "adapter_config.json").read_text())) for folder in folders]
    single = [(folder, {**config, key: odd}) for folder, config in known for key in config for odd in ODD]
    single += [(folder, {k: v for k, v in config.items() if k != key}) for folder, config in known for key in config]
    rng.shuffle(single)
    for folder, config in single[: count // 2]:
        yield folder, json.dumps(config).encode()
    for number in range(count - min(count // 2, len(single))):
        folder, config = rng.choice(known)
        changed = copy.deepcopy(config)
        for _ in range(rng.randrange(1, 5)):
            changed[rng.choice([*config, "r", "rank_pattern", "alpha_pattern", "x" * 40])] = rng.choice(ODD)
        data = bytearray(json.dumps(changed).encode())
        if number % 7 == 0:
            data[rng.randrange(len(data))] = rng.randrange(256)
        elif number % 11 == 0:
            data = bytearray(rng.choice(RAW))
        yield folder, bytes(data)


def attack_adapters(tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int) -> None:
    previous = ROOT / "tests/previous"
    folders = [tmp_path / "lora", tmp_path / "prefix_tuning"]
    for folder in folders:
        shutil.copytree(previous / folder.name, folder)
    folders.append(
        write_adapter(tmp_path / "p", Path("data/nano"), peft_type="P_TUNING", num_virtual_tokens=4, token_dim=192)
    )
    tried = served = planned = 0
    for folder, data in configurations(random.Random(count), folders, count):
        before = (folder / "adapter_config.json").read_bytes()
        (folder / "adapter_config.json").write_bytes(data)
        capsys.readouterr()
        allowed(lambda folder=folder: serve([f"a={folder}"], base=Path("data/nano"), dry_run=True))
        out = capsys.readouterr().out
        if out:
            served += 1
            check_command(out, json.loads(data))
        planned += allowed(lambda folder=folder: plugin(folder)) is not None
        (folder / "adapter_config.json").write_bytes(before)
        tried += 1
    assert tried == count
    assert served > count / 10 and planned > count / 10


def check_command(out: str, config: dict[str, Any]) -> None:
    """What was accepted is served as its configuration says."""
    words = shlex.split(out)
    assert "--trust-remote-code" not in words
    if config["peft_type"] == "LORA":
        rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
        assert int(words[words.index("--max-lora-rank") + 1]) >= rank
    else:
        assert config["num_virtual_tokens"] == 4 or config["peft_type"] == "PREFIX_TUNING"


def plugin(folder: Path) -> bool:
    """The plugin's checks of an adapter, for training and for inference."""
    for method in ("lora", "p_tuning", "prefix_tuning"):
        model = SimpleNamespace(adapter_name_or_path=[str(folder)], model_name_or_path="data/nano")
        tuning = SimpleNamespace(finetuning_type=method, num_virtual_tokens=None)
        data = SimpleNamespace(cutoff_len=512)
        problems = adapter_problems(model, tuning)
        for trains in (True, False):
            problems += training_problems(model, data, SimpleNamespace(do_train=trains), tuning)
        assert not any("\n" in problem for problem in problems)
    config = read_adapter_config(folder)
    if config:
        assert "\n" not in (base_doubt(str(folder), config, "data/nano") or "")
    return True


def test_edited_adapter_configurations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attack_adapters(tmp_path, capsys, 1300)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_edited_adapter_configurations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attack_adapters(tmp_path, capsys, 26_000)


def edited(rng: random.Random, content: bytes) -> bytes:
    """A JSON file with odd values in it, or broken bytes."""
    value = json.loads(content)
    for _ in range(rng.randrange(1, 4)):
        place = value
        while isinstance(place, dict) and place:
            key = rng.choice(list(place))
            if not isinstance(place[key], dict) or rng.random() < 0.6:
                place[key] = copy.deepcopy(rng.choice(ODD))
                break
            place = place[key]
    data = bytearray(json.dumps(value).encode())
    kind = rng.random()
    if kind < 0.15:
        data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind < 0.3:
        del data[rng.randrange(len(data)) :]
    elif kind < 0.4:
        data = bytearray(rng.choice(RAW))
    return bytes(data)


def edited_weights(rng: random.Random, content: bytes) -> bytes:
    """A safetensors file with an edited header, or another length."""
    length = int.from_bytes(content[:8], "little")
    header, rest = content[8 : 8 + length], content[8 + length :]
    kind = rng.random()
    if kind < 0.5:
        header = edited(rng, header)
        return len(header).to_bytes(8, "little") + header + rest
    if kind < 0.7:
        return rng.choice([0, 1, 2**31, 2**63, 2**64 - 1]).to_bytes(8, "little") + header + rest
    return content[: rng.randrange(len(content))] if kind < 0.9 else content + b"\0"


def attack_bases(folder: Path, count: int) -> None:
    """Serve with, and convert from, base models of which one file is edited."""
    rng = random.Random(count)
    folder.mkdir()
    files = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    small = json.dumps({"added_tokens": [{"id": 9, "content": "<|x|>", "special": True}]}).encode()
    index = json.dumps({"metadata": {}, "weight_map": {"a": "model.safetensors", "b": "model.safetensors"}}).encode()
    content = {name: small if name == "tokenizer.json" else (NANO / name).read_bytes() for name in files}
    content["model.safetensors.index.json"] = index
    prefix = write_adapter(folder / "adapter", folder, peft_type="PREFIX_TUNING", num_virtual_tokens=3)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    chatglm = {"model_type": "chatglm", "architectures": ["ChatGLMModel"], "num_layers": 3, "hidden_size": 64}
    chatglm |= {"num_attention_heads": 4, "kv_channels": 16, "multi_query_group_num": 2, "ffn_hidden_size": 96}
    chatglm |= {"padded_vocab_size": 512, "seq_length": 256, "original_rope": True, "add_qkv_bias": True}
    chatglm |= {"multi_query_attention": True, "_name_or_path": "THUDM/chatglm3-6b", "layernorm_epsilon": 1e-5}
    tried = 0
    while tried < count:
        name = rng.choice([*content, "config.json"])
        edit = edited_weights if name.endswith(".safetensors") else edited
        (folder / name).write_bytes(edit(rng, content[name]))
        allowed(lambda: serve([f"a={prefix}"], base=folder, dry_run=True))
        allowed(lambda: serve([], base=folder, dry_run=True))
        allowed(lambda: check_weights(folder, "x"))
        allowed(lambda: is_complete(folder))
        (folder / "config.json").write_bytes(edited(rng, json.dumps(chatglm).encode()))
        allowed(lambda: read_config(folder))
        for restored in {name, "config.json"}:
            (folder / restored).write_bytes(content[restored])
        tried += 1
    assert serve([f"a={prefix}"], base=folder, dry_run=True) is None


def test_edited_base_models(tmp_path: Path) -> None:
    attack_bases(tmp_path / "base", 400)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_edited_base_models(tmp_path: Path) -> None:
    attack_bases(tmp_path / "base", 8000)


def attack_descriptions(workplace: Path, count: int) -> None:
    rng = random.Random(count)
    shutil.copytree(ROOT / "recipes", workplace / "recipes")
    sources = [(workplace / "recipes" / name / "model.yaml").read_bytes() for name in ("nano", "chatglm3-6b")]
    pieces = [
        b"*a",
        b"&a [1, 2]",
        b"2026-02-30",
        b"!!python/object:os.system x",
        b".inf",
        b"-.nan",
        b"{}",
        b"[[",
        b"\0",
    ]
    pieces += [
        b"0x" + b"f" * 6000,
        b"9" * 6000,
        b"weights: 5\n",
        b"- ",
        b"\xff",
        b"'\\e[2J'",
        b"<<: {a: 1}\n",
        b"? x\n",
    ]
    known = len(model_names())
    for _ in range(count):
        data = bytearray(rng.choice(sources))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(20)] = rng.choice(pieces)
        (workplace / "recipes/nano/model.yaml").write_bytes(data)
        allowed(lambda: load_base_model("nano"))
        allowed(lambda: base_model_of(Path("data/nano")))
        assert base_model_of(Path("models/qwen2-7b")) is not None
    assert len(model_names()) == known


def test_edited_descriptions_of_base_models(workplace: Path) -> None:
    attack_descriptions(workplace, 300)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_edited_descriptions_of_base_models(workplace: Path) -> None:
    attack_descriptions(workplace, 6000)
