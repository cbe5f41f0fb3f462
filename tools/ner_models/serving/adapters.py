"""Adapter folders: what they hold, and what vLLM would reject in them."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamafactory_ner.checks.base_model import base_doubt, base_problems
from ner_common.errors import UserError, rooted
from ner_common.files import read_json

# The ranks that vLLM 0.32 reserves memory for (vllm.config.lora.MaxLoRARanks).
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Initialisations that only set the adapter's first weights; all others change the base model too.
PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter to serve: its name, folder, PEFT type (``LORA``, ...), base model folder and configuration."""

    name: str
    path: Path
    kind: str
    base: str
    config: dict[str, Any]

    @property
    def rank(self) -> int:
        """The largest LoRA rank that the adapter has in any module."""
        return max([int(self.config["r"]), *map(int, (self.config.get("rank_pattern") or {}).values())])


def load_adapter(name: str, path: Path) -> Adapter:
    """Read an adapter folder as PEFT writes it.

    Raises:
        UserError: there is no adapter, or only one in a pickle file (``adapter_model.bin``).
    """
    train_it = "train one, or name its folder"
    config = read_json(path / "adapter_config.json", f"{rooted(path)} holds no adapter; {train_it}")
    if not isinstance(config, dict) or not {"peft_type", "base_model_name_or_path"} <= config.keys():
        raise UserError(f"{rooted(path / 'adapter_config.json')}: not a PEFT configuration; {train_it}")
    if not (path / "adapter_model.safetensors").is_file():
        raise UserError(f"{rooted(path)}: has no adapter_model.safetensors (only safetensors are loaded); {train_it}")
    return Adapter(name, path, str(config["peft_type"]), str(config["base_model_name_or_path"]), config)


def check_base(adapter: Adapter, base: Path) -> None:
    """Refuse an adapter of another base model.

    Raises:
        UserError: its number of layers or its width differs; or the base it was trained on is available and has
            different weights.
    """
    if problems := base_problems(rooted(adapter.path), adapter.config, rooted(base)):
        raise UserError(problems[0])


def warn_of_another_name(adapter: Adapter, base: Path) -> None:
    """Warn on stderr if an adapter's base had a different name."""
    if doubt := base_doubt(rooted(adapter.path), adapter.config, rooted(base)):
        print(f"warning: {doubt}", file=sys.stderr)


def refusals(adapter: Adapter) -> list[str]:
    """Why vLLM would reject a LoRA adapter; empty if it would not (rules of vllm.lora.peft_helper, 0.32)."""
    config = adapter.config
    init = config.get("init_lora_weights", True)
    checks = [
        (config.get("use_dora"), "it is a DoRA adapter"),
        (config.get("bias", "none") != "none" or config.get("lora_bias"), "it has bias terms (bias, lora_bias)"),
        (
            config.get("modules_to_save"),
            f"it replaces whole modules (modules_to_save: {config.get('modules_to_save')})",
        ),
        (
            isinstance(init, str) and init.lower() not in PLAIN_INITS,
            f"init_lora_weights={init} changes the base model",
        ),
        (config.get("alora_invocation_tokens"), "it is an activated LoRA"),
        (config.get("layer_replication"), "it replicates layers"),
        (config.get("use_bdlora"), "it is a block-diagonal LoRA"),
        (config.get("use_qalora"), "it is a QA-LoRA"),
        (adapter.rank > RANKS[-1], f"its rank {adapter.rank} is above {RANKS[-1]}"),
    ]
    return [reason for found, reason in checks if found]


def served_rank(rank: int) -> int:
    """The smallest ``--max-lora-rank`` that vLLM accepts and that holds ``rank`` (1 <= rank <= 512)."""
    return next(allowed for allowed in RANKS if allowed >= rank)
