"""Adapter folders: what they hold, and what vLLM would reject in them."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from llamafactory_ner.checks.base_model import base_doubt, base_problems
from llamafactory_ner.checks.configs import AdapterConfig, read_adapter_config
from ner_common.adapters import ADAPTER_CONFIG, WEIGHTS
from ner_common.errors import UserError, one_line, printable, rooted
from ner_common.weights import stored_tensors

# The ranks that vLLM 0.32 reserves memory for (vllm.config.lora.MaxLoRARanks).
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Initialisations that only set the adapter's first weights; all others change the base model too.
PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
# What would end a word of vLLM's command or of a URL, or be read as an option, a list or JSON.
IN_A_NAME = re.compile(r"""(?!-)[^\s/\\=,{}"'`]{1,200}""")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter to serve: its name, folder, PEFT type (``LORA``, ...), base model folder and configuration."""

    name: str
    path: Path
    kind: str
    base: str
    config: AdapterConfig

    @property
    def rank(self) -> int:
        """The largest LoRA rank that the adapter has in any module."""
        return max(self.config.r or 1, *(self.config.rank_pattern or {}).values(), 1)


def load_adapter(name: str, path: Path) -> Adapter:
    """Read an adapter folder as PEFT writes it.

    Raises:
        UserError: there is no adapter, its configuration or weights are damaged, or it has only a pickle file
            (``adapter_model.bin``); or see `check_path`.
    """
    check_path(path)
    train_it = "train one, or name its folder"
    config = read_adapter_config(path, train_it)
    if config is None:
        raise UserError(f"{rooted(path / ADAPTER_CONFIG)}: no such file; {rooted(path)} holds no adapter; {train_it}")
    if not config.base_model_name_or_path:
        problem = "not a PEFT configuration (it names no base_model_name_or_path)"
        raise UserError(f"{rooted(path / ADAPTER_CONFIG)}: {problem}; {train_it}")
    if not (path / WEIGHTS).is_file():
        raise UserError(f"{rooted(path)}: has no {WEIGHTS} (only safetensors are loaded); {train_it}")
    try:
        stored_tensors(path / WEIGHTS)
    except ValueError as error:
        raise UserError(f"{rooted(path / WEIGHTS)}: {error}; {train_it}") from None
    return Adapter(name, path, config.peft_type, config.base_model_name_or_path, config)


def check_path(path: Path) -> None:
    """Refuse a folder whose name cannot be printed, stored or passed on as it is.

    Raises:
        UserError: see above.
    """
    if not str(path).isprintable():
        raise UserError(f"{one_line(str(path), 200)}: a character of this path cannot be printed; rename the folder")


def check_name(name: str) -> None:
    """Refuse a name that could not be served, asked for or printed as it is.

    Raises:
        UserError: see above.
    """
    if not IN_A_NAME.fullmatch(name) or printable(name) != name or not name.isprintable():
        problem = f"{one_line(name)} cannot be a served model's name"
        raise UserError(f"{problem}; choose one without spaces, slashes, quotes, commas or a leading - (NAME=DIR)")


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
    init = config.init_lora_weights
    special = isinstance(init, str) and init.lower() not in PLAIN_INITS
    patterns = [*(config.rank_pattern or {}), *(config.alpha_pattern or {})]
    needed = {"r": config.r, "lora_alpha": config.lora_alpha, "target_modules": config.target_modules}
    checks = [
        (config.use_dora, "it is a DoRA adapter"),
        (config.bias != "none" or config.lora_bias, "it has bias terms (bias, lora_bias)"),
        (config.modules_to_save, f"it replaces whole modules (modules_to_save: {one_line(config.modules_to_save)})"),
        (special, f"init_lora_weights={init} changes the base model"),
        (config.alora_invocation_tokens, "it is an activated LoRA"),
        (config.layer_replication, "it replicates layers"),
        (config.use_bdlora, "it is a block-diagonal LoRA"),
        (config.use_qalora, "it is a QA-LoRA"),
        (adapter.rank > RANKS[-1], f"its rank {adapter.rank} is above {RANKS[-1]}"),
        (any(not _is_pattern(text) for text in patterns), "rank_pattern or alpha_pattern has an invalid expression"),
        (None in needed.values(), f"it lacks {', '.join(name for name in needed if needed[name] is None)}"),
    ]
    return [reason for found, reason in checks if found]


def _is_pattern(text: str) -> bool:
    try:
        re.compile(rf"(.*\.)?({text})$")
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def served_rank(rank: int) -> int:
    """The smallest ``--max-lora-rank`` that vLLM accepts and that holds ``rank`` (1 <= rank <= 512)."""
    return next(allowed for allowed in RANKS if allowed >= rank)
