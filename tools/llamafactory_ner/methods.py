"""The finetuning types that the plugin adds to llamafactory, one entry of `METHODS` each.

All are soft prompts: a few trained positions before the text, with the base model frozen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

# The value in ChatGLM's scripts; a longer prompt takes more memory for every record of a batch.
DEFAULT_VIRTUAL_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Argument:
    """A field that the plugin adds to llamafactory's FinetuningArguments."""

    type: Any
    default: Any
    help: str


@dataclass(frozen=True, slots=True)
class Method:
    """A finetuning type of the plugin.

    Attributes:
        name: what recipes call it (``finetuning_type``).
        peft_type: what PEFT calls it in ``adapter_config.json``.
        arguments: those of `ARGUMENTS` that apply to it.
        in_every_layer: True if it trains keys and values of every layer, False if input vectors.
        mlp: whether an MLP produces it in training: True, False, or the name of the argument (ours and PEFT's) that
            decides.
        peft_config: makes PEFT's configuration of a new soft prompt from the finetuning arguments.
        instead_of_merging: the command to serve it with, as it cannot be merged into the weights.
    """

    name: str
    peft_type: str
    arguments: tuple[str, ...]
    in_every_layer: bool
    mlp: bool | str
    peft_config: Callable[[Any], Any]
    instead_of_merging: str

    def has_mlp(self, settings: Mapping[str, Any]) -> bool:
        """Whether an MLP produces it, given its arguments or its PEFT configuration."""
        return is_set(settings.get(self.mlp)) if isinstance(self.mlp, str) else self.mlp


def is_set(value: Any) -> bool:
    """Whether an argument is given and not false; llamafactory accepts both YAML values and text."""
    return str(value or "false").lower() != "false"


def _common(arguments: Any) -> dict[str, Any]:
    """Settings shared by PEFT's soft prompts; PEFT takes those that are None from the base model's configuration."""
    from peft import TaskType

    return {
        "task_type": TaskType.CAUSAL_LM,
        "num_virtual_tokens": arguments.num_virtual_tokens or DEFAULT_VIRTUAL_TOKENS,
        "encoder_hidden_size": arguments.prompt_encoder_hidden_size,
    }


def _p_tuning(arguments: Any) -> Any:
    from peft import PromptEncoderConfig

    return PromptEncoderConfig(**_common(arguments))


def _prefix_tuning(arguments: Any) -> Any:
    from peft import PrefixTuningConfig

    return PrefixTuningConfig(prefix_projection=arguments.prefix_projection, **_common(arguments))


METHODS = {
    method.name: method
    for method in (
        Method(
            name="p_tuning",
            peft_type="P_TUNING",
            arguments=("num_virtual_tokens", "pre_seq_len", "prompt_encoder_hidden_size"),
            in_every_layer=False,
            mlp=True,
            peft_config=_p_tuning,
            instead_of_merging="ner-model export",
        ),
        Method(
            name="prefix_tuning",
            peft_type="PREFIX_TUNING",
            arguments=("num_virtual_tokens", "pre_seq_len", "prompt_encoder_hidden_size", "prefix_projection"),
            in_every_layer=True,
            mlp="prefix_projection",
            peft_config=_prefix_tuning,
            instead_of_merging="ner-model serve",
        ),
    )
}
NAMES = " or ".join(METHODS)  # in messages
ARGUMENTS = {
    "num_virtual_tokens": Argument(
        int | None, None, f"Length of the soft prompt for {NAMES} (default: {DEFAULT_VIRTUAL_TOKENS})."
    ),
    "pre_seq_len": Argument(int | None, None, "The name of num_virtual_tokens in ChatGLM's scripts."),
    "prompt_encoder_hidden_size": Argument(
        int | None,
        None,
        "Width of the MLP that produces the soft prompt in p_tuning, and in prefix_tuning with prefix_projection "
        "(default: the width of what it produces).",
    ),
    "prefix_projection": Argument(bool, False, "Whether an MLP produces the prefix in prefix_tuning."),
}
# What `ner-model train` trains without llamafactory: LoRA by transformers and PEFT alone.
PEFT_LORA = "peft_lora"
# Fields that hold for every finetuning type.
SHARING = {
    "share_prompt": Argument(
        bool, False, "Compute what the records of a batch have in common, their prompt, once per step; same gradients."
    ),
    "share_prompt_attention": Argument(
        Literal["sdpa", "flex_attention"],
        "sdpa",
        "The attention over rows that share a prompt; flex_attention needs a GPU, and was never measured on one.",
    ),
}
# llamafactory's options that do not work with soft prompts, and what to do instead.
UNSUPPORTED = {
    "use_unsloth": "unset it",
    "use_kt": "unset it",
    "shift_attn": "unset it",
    "mixture_of_depths": "unset it",
    "use_galore": "use the default optimizer",
    "use_apollo": "use the default optimizer",
    "use_badam": "use the default optimizer",
    "use_llama_pro": "unset it",
    "packing": "unset it: only the first text of a pack would see the soft prompt",
    "neat_packing": "unset it: only the first text of a pack would see the soft prompt",
    "fsdp": "use plain data parallelism or DeepSpeed ZeRO-2",
}


def method_of(config: Mapping[str, Any]) -> Method | None:
    """The method that trained an adapter, by its PEFT configuration; None for LoRA and other kinds."""
    return next((method for method in METHODS.values() if method.peft_type == config.get("peft_type")), None)
