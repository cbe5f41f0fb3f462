"""P-Tuning v2 checkpoints of the original code, against the original computation: prefix in the cache, text at 0."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatglm_support import TINY, train_tokenizer, write_checkpoint
from support import Result, one_line_error

pytestmark = pytest.mark.train

Cli = Callable[..., Result]
TOKENS, LAYERS, GROUPS, HEAD, HIDDEN = 13, 3, 2, 32, 128
WIDTH = LAYERS * 2 * GROUPS * HEAD


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted model that fits the prefixes of this file."""
    from ner_models.chatglm3.convert import convert

    folder = tmp_path_factory.mktemp("base")
    write_checkpoint(folder / "src", train_tokenizer(folder / "tiny"))
    convert(folder / "src", folder / "glm")
    return folder / "glm"


def encoder(projection: bool) -> Any:
    """The prefix encoder of chatglm2/3, and the prefix ``[tokens, WIDTH]`` that it yields."""
    import torch

    torch.manual_seed(11)
    modules = torch.nn.ModuleDict({"embedding": torch.nn.Embedding(TOKENS, WIDTH)})
    if projection:
        steps = (torch.nn.Linear(WIDTH, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, WIDTH))
        modules["trans"] = torch.nn.Sequential(*steps)
    with torch.no_grad():
        prefix = modules["embedding"](torch.arange(TOKENS))
        return modules, modules["trans"](prefix) if projection else prefix


def write_prefix(folder: Path, modules: Any, **changes: Any) -> Path:
    import torch

    folder.mkdir()
    state = {f"transformer.prefix_encoder.{name}": tensor for name, tensor in modules.state_dict().items()}
    torch.save(state, folder / "pytorch_model.bin")
    config = {**TINY, "pre_seq_len": TOKENS, "prefix_projection": len(state) > 1, **changes}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def logits_with_text_at_0(model: Any, prefix: Any, ids: Any) -> Any:
    """As in the original code: keys unchanged in the cache, and positions that start at 0."""
    import torch
    from transformers import DynamicCache

    past = prefix.view(1, TOKENS, LAYERS * 2, GROUPS, HEAD).permute(2, 0, 3, 1, 4)
    cache = DynamicCache()
    for layer in range(LAYERS):
        cache.update(past[2 * layer], past[2 * layer + 1], layer)
    positions = torch.arange(ids.shape[1])[None]
    mask = torch.ones(1, TOKENS + ids.shape[1])
    with torch.no_grad():
        return model(ids, past_key_values=cache, position_ids=positions, attention_mask=mask).logits


@pytest.mark.parametrize("projection", [False, True])
def test_peft_with_the_imported_prefix_computes_what_the_original_code_does(
    cli: Cli, base: Path, tmp_path: Path, projection: bool
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    modules, prefix = encoder(projection)
    done = cli("ner-model", "import-prefix", write_prefix(tmp_path / "src", modules), tmp_path / "dst", "--base", base)
    assert done.code == 0, done.err
    assert f"{TOKENS} virtual tokens, {LAYERS} layers" in done.out
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = torch.randint(3, 600, (1, 40), generator=torch.Generator().manual_seed(1))
    original = logits_with_text_at_0(model, prefix, ids)
    bare = model(ids).logits
    tuned = PeftModel.from_pretrained(model, tmp_path / "dst")
    found = tuned(ids).logits
    assert (found - original).abs().max() < 2e-5
    assert (bare - original).abs().max() > 0.5  # the prefix does something
    # and so does the rotation: the unrotated keys are a different prefix
    with torch.no_grad():
        tuned.prompt_encoder["default"].embedding.weight.copy_(prefix)
    assert (tuned(ids).logits - original).abs().max() > 0.05


def test_the_adapter_is_what_peft_itself_saves(cli: Cli, base: Path, tmp_path: Path) -> None:
    from peft import PrefixTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    modules, _ = encoder(projection=False)
    cli("ner-model", "import-prefix", write_prefix(tmp_path / "src", modules), tmp_path / "dst", "--base", base)
    model = AutoModelForCausalLM.from_pretrained(base)
    own = get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS))
    own.save_pretrained(tmp_path / "own")
    ours, theirs = (json.loads((tmp_path / name / "adapter_config.json").read_text()) for name in ("dst", "own"))
    assert ours == theirs


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_hidden_layers": 28}, "(layers 3, "),
        ({"num_key_value_heads": 4}, "(key-value groups 2, "),
        ({"head_dim": 64}, "(head size 32, "),
        ({"model_type": "qwen2"}, "not a converted chatglm ('qwen2')"),
    ],
)
def test_a_base_that_the_prefix_does_not_fit_is_refused(
    cli: Cli, base: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    (tmp_path / "base").mkdir()
    config = json.loads((base / "config.json").read_text()) | changes
    (tmp_path / "base/config.json").write_text(json.dumps(config))
    source = write_prefix(tmp_path / "src", encoder(projection=False)[0])
    message = one_line_error(cli("ner-model", "import-prefix", source, tmp_path / "dst", "--base", tmp_path / "base"))
    assert said in message and "with --base" in message
    assert not (tmp_path / "dst").exists()


def test_a_whole_model_saved_with_its_prefix_gives_the_prefix(cli: Cli, base: Path, tmp_path: Path) -> None:
    import torch

    modules, _ = encoder(projection=False)
    source = write_prefix(tmp_path / "src", modules, quantization_bit=4)
    state = torch.load(source / "pytorch_model.bin")
    torch.save(state | {"transformer.output_layer.weight": torch.zeros(768, 128)}, source / "pytorch_model.bin")
    done = cli("ner-model", "import-prefix", source, tmp_path / "dst", "--base", base)
    assert done.code == 0 and "read 2, used 1, left out 1" in done.out


def test_a_prefix_for_another_number_of_layers_is_refused(cli: Cli, tmp_path: Path) -> None:
    modules, _ = encoder(projection=True)
    source = write_prefix(tmp_path / "src", modules, num_layers=4)
    message = one_line_error(cli("ner-model", "import-prefix", source, tmp_path / "dst"))
    assert "4 layers of 2 key-value groups need [13, 512]" in message
    assert not (tmp_path / "dst").exists()


def test_a_prefix_longer_than_the_context_is_refused(cli: Cli, tmp_path: Path) -> None:
    source = write_prefix(tmp_path / "src", encoder(projection=False)[0], seq_length=TOKENS)
    message = one_line_error(cli("ner-model", "import-prefix", source, tmp_path / "dst"))
    assert "a prefix of 13 tokens leaves no room in the context of 13" in message


def test_a_checkpoint_without_a_prefix_is_refused(cli: Cli, base: Path, tmp_path: Path) -> None:
    message = one_line_error(cli("ner-model", "import-prefix", base.parent / "src", tmp_path / "dst"))
    assert "has no transformer.prefix_encoder.embedding.weight" in message


def test_another_base_model_and_a_target_that_exists_are_refused(cli: Cli, tmp_path: Path) -> None:
    source = write_prefix(tmp_path / "src", encoder(projection=False)[0], model_type="qwen2", _name_or_path="Qwen2-7B")
    assert "Qwen2-7B" in one_line_error(cli("ner-model", "import-prefix", source, tmp_path / "dst"))
    (tmp_path / "dst").mkdir()
    assert "already exists" in one_line_error(cli("ner-model", "import-prefix", source, tmp_path / "dst"))
