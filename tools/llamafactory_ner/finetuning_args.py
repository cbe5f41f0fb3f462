"""Hook of `llamafactory.hparams.finetuning_args`: the two finetuning types and their fields."""

from dataclasses import field, make_dataclass
from types import ModuleType
from typing import Any, Literal, get_args

SOFT_PROMPTS = ("p_tuning", "prefix_tuning")
# What the ChatGLM scripts use; longer costs memory for every token of the batch.
DEFAULT_VIRTUAL_TOKENS = 128
FIELDS: dict[str, tuple[Any, Any, str]] = {
    "num_virtual_tokens": (
        int | None,
        None,
        f"Length of the soft prompt for p_tuning and prefix_tuning (default: {DEFAULT_VIRTUAL_TOKENS}).",
    ),
    "pre_seq_len": (int | None, None, "The name that the ChatGLM scripts have for num_virtual_tokens."),
    "prompt_encoder_hidden_size": (
        int | None,
        None,
        "Width of the MLP that produces the soft prompt in p_tuning, and in prefix_tuning with prefix_projection "
        "(default: the width of what it produces).",
    ),
    "prefix_projection": (bool, False, "Whether an MLP produces the prefix in prefix_tuning."),
}


def hook(module: ModuleType) -> None:
    """Replace FinetuningArguments by a subclass before `hparams.parser` copies it."""
    base = module.FinetuningArguments
    types = get_args(base.__dataclass_fields__["finetuning_type"].type)

    def post_init(self: Any) -> None:
        finetuning_type = self.finetuning_type
        if finetuning_type in SOFT_PROMPTS:
            self.finetuning_type = "lora"  # the host asserts its own four; what holds for its adapters holds for ours
        base.__post_init__(self)
        self.finetuning_type = finetuning_type
        if self.num_virtual_tokens is None:
            self.num_virtual_tokens = self.pre_seq_len

    fields = [
        (name, kind, field(default=default, metadata={"help": text})) for name, (kind, default, text) in FIELDS.items()
    ]
    method = (
        "finetuning_type",
        Literal[(*types, *SOFT_PROMPTS)],
        field(default="lora", metadata={"help": "Which fine-tuning method to use."}),
    )
    namespace = {"__post_init__": post_init, "__module__": base.__module__, "__doc__": base.__doc__}
    module.FinetuningArguments = make_dataclass(  # type: ignore[attr-defined]
        "FinetuningArguments", [*fields, method], bases=(base,), namespace=namespace
    )
