"""``adapter_config.json`` and a base model's ``config.json``: the fields that we use, typed and bounded.

PEFT and transformers write many more, which are left to them. `ner_models` reads both through here too.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from llamafactory_ner.methods import Method, method_of
from ner_common.adapters import ADAPTER_CONFIG
from ner_common.decoding import convert
from ner_common.errors import UserError, rooted
from ner_common.files import read_json

MODEL_CONFIG = "config.json"
LORA = "LORA"
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Line = Annotated[str, msgspec.Meta(max_length=1024, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z")]
Factor = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]


class AdapterConfig(msgspec.Struct, frozen=True):
    """An adapter's PEFT configuration. The second group belongs to LoRA, the third to soft prompts.

    Attributes:
        r, rank_pattern: the rank, and those of single modules by pattern; None: not given.
        num_virtual_tokens: length of a soft prompt; never None in one.
        num_layers, token_dim: layers of the base, and width of what a soft prompt feeds into it.
    """

    peft_type: Line
    base_model_name_or_path: Line | None = None

    r: Count | None = None
    lora_alpha: Factor | None = None
    rank_pattern: dict[Line, Count] | None = None
    alpha_pattern: dict[Line, Factor] | None = None
    target_modules: list[str] | str | None = None  # no Line twice in one union: msgspec 0.22 frees it twice at exit
    layers_to_transform: list[int] | int | None = None
    modules_to_save: list[Line] | None = None
    bias: Line = "none"
    init_lora_weights: bool | Line | None = None
    lora_bias: bool | None = None
    use_dora: bool | None = None
    use_qalora: bool | None = None
    use_rslora: bool | None = None
    use_bdlora: bool | dict[str, Any] | None = None
    alora_invocation_tokens: list[int] | None = None
    layer_replication: list[list[int]] | None = None

    num_virtual_tokens: Count | None = None
    num_layers: Count | None = None
    token_dim: Count | None = None
    prefix_projection: bool | None = None

    @property
    def method(self) -> Method | None:
        """The plugin's method that trained it; None for LoRA and other kinds."""
        return method_of({"peft_type": self.peft_type})

    @property
    def has_mlp(self) -> bool:
        """Whether an MLP produces the soft prompt in training."""
        return self.method is not None and self.method.has_mlp({"prefix_projection": self.prefix_projection})


# Other kinds (OFT, AdaLoRA, …) give some of these fields another meaning.
_OF_ALL = ("peft_type", "base_model_name_or_path")
_OF_SOFT_PROMPTS = (*_OF_ALL, "num_virtual_tokens", "num_layers", "token_dim", "prefix_projection")


class ModelConfig(msgspec.Struct, frozen=True):
    """A base model's sizes, and how its weights are quantised; None: its configuration does not say."""

    max_position_embeddings: Count | None = None
    num_hidden_layers: Count | None = None
    hidden_size: Count | None = None
    intermediate_size: Count | None = None
    num_attention_heads: Count | None = None
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    quantization_config: dict[str, Any] | None = None


def read_adapter_config(folder: Path, remedy: str = "restore the file") -> AdapterConfig | None:
    """The configuration in an adapter's folder; None if there is none (an adapter may be named by its hub id).

    Raises:
        UserError: it is not PEFT's, or a field that we use has another type or an impossible value.
    """
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        return None
    value = read_json(path, remedy, dict[str, Any])
    try:
        if method_of(value):
            config = convert({name: value[name] for name in _OF_SOFT_PROMPTS if name in value}, AdapterConfig)
            if config.num_virtual_tokens is None:
                raise ValueError("lacks num_virtual_tokens")
            return config
        used = value if value.get("peft_type") == LORA else {name: value[name] for name in _OF_ALL if name in value}
        return convert(used, AdapterConfig)
    except ValueError as error:
        raise UserError(f"{rooted(path)}: not a PEFT configuration: {error}; {remedy}") from None


def read_model_config(folder: Path) -> ModelConfig | None:
    """The configuration in a model's folder; None if there is none (a model may be named by its hub id).

    Raises:
        UserError: it is not one, or a size has another type or an impossible value.
    """
    path = folder / MODEL_CONFIG
    return read_json(path, "restore the file", ModelConfig) if path.is_file() else None
