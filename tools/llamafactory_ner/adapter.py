"""Hook of `llamafactory.model.adapter`: build or load a soft prompt instead of LoRA layers."""

from functools import wraps
from types import ModuleType
from typing import Any

from llamafactory_ner.methods import METHODS
from llamafactory_ner.number_format import FROZEN_BASE, in_format


def hook(module: ModuleType) -> None:
    """Make `init_adapter` handle the plugin's finetuning types here and pass everything else to the original.

    Both get the base model in the number format that it is trained in.
    """
    original = module.init_adapter

    @wraps(original)
    def init_adapter(config: Any, model: Any, model_args: Any, finetuning_args: Any, is_trainable: bool) -> Any:
        if is_trainable:
            frozen = finetuning_args.finetuning_type in FROZEN_BASE
            model = in_format(model, model_args.compute_dtype, frozen, on_cpu=model.device.type == "cpu")
        if finetuning_args.finetuning_type not in METHODS:
            return original(config, model, model_args, finetuning_args, is_trainable)
        return init_soft_prompt(model, model_args, finetuning_args, is_trainable, module.logger)

    module.init_adapter = init_adapter  # type: ignore[attr-defined]


def init_soft_prompt(model: Any, model_args: Any, finetuning_args: Any, is_trainable: bool, logger: Any) -> Any:
    """Wrap `model` in a new soft prompt, or in the one at `adapter_name_or_path`; trainable parameters in float32."""
    from peft import PeftConfig

    from llamafactory_ner.soft_prompt_model import SoftPromptModel

    if model_args.adapter_name_or_path is None and not is_trainable:
        return model
    if model_args.adapter_name_or_path is None:
        logger.info_rank0(f"Fine-tuning method: {finetuning_args.finetuning_type}")
        config = METHODS[finetuning_args.finetuning_type].peft_config(finetuning_args)
        model = SoftPromptModel(model, config)
    else:
        (adapter,) = model_args.adapter_name_or_path
        config = PeftConfig.from_pretrained(adapter)
        config.inference_mode = not is_trainable
        model = SoftPromptModel(model, config)
        model.load_adapter(adapter, "default", is_trainable=is_trainable, torch_device=str(model.device))
        logger.info_rank0(f"Loaded adapter(s): {adapter}")
    if is_trainable and not finetuning_args.pure_bf16:
        for parameter in model.prompt_encoder.parameters():
            parameter.data = parameter.data.float()
    return model
