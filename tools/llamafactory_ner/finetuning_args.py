"""Hook of `llamafactory.hparams.finetuning_args`: the plugin's finetuning types and their arguments."""

from dataclasses import field, make_dataclass
from types import ModuleType
from typing import Any, Literal, get_args

from llamafactory_ner.methods import ARGUMENTS, METHODS, SHARING


def hook(module: ModuleType) -> None:
    """Replace FinetuningArguments with a subclass before `hparams.parser` copies it."""
    base = module.FinetuningArguments
    types = get_args(base.__dataclass_fields__["finetuning_type"].type)

    def post_init(self: Any) -> None:
        finetuning_type = self.finetuning_type
        if finetuning_type in METHODS:
            self.finetuning_type = "lora"  # the host accepts only its own four types; its rules for LoRA hold for ours
        base.__post_init__(self)
        self.finetuning_type = finetuning_type
        if self.num_virtual_tokens is None:
            self.num_virtual_tokens = self.pre_seq_len

    fields = [
        (name, argument.type, field(default=argument.default, metadata={"help": argument.help}))
        for name, argument in (ARGUMENTS | SHARING).items()
    ]
    method = (
        "finetuning_type",
        Literal[(*types, *METHODS)],
        field(default="lora", metadata={"help": "Which fine-tuning method to use."}),
    )
    namespace = {"__post_init__": post_init, "__module__": base.__module__, "__doc__": base.__doc__}
    module.FinetuningArguments = make_dataclass(  # type: ignore[attr-defined]
        "FinetuningArguments", [*fields, method], bases=(base,), namespace=namespace
    )
