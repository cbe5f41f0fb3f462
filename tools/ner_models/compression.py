"""What `ner-model quantize` has llmcompressor do: load a model, calibrate it, quantise its linear layers, save it."""

import os
import warnings
from pathlib import Path
from typing import Any

from ner_common.machine import gpu_capabilities
from ner_models.peft_training.records import encode
from ner_models.quantize import Calibration

# AWQ moves scale from the weights of a layer into what computes its input. llmcompressor does not know glm, whose gate
# and up projections are one matrix.
GLM = {
    "input_layernorm": ["q_proj", "k_proj", "v_proj"],
    "v_proj": ["o_proj"],
    "post_attention_layernorm": ["gate_up_proj"],
    "gate_up_proj": ["down_proj"],
}


def compress(source: Path, target: Path, calibration: Calibration | None) -> None:
    """Write the quantised weights of a model and their configuration.

    Args:
        source: the folder of the model.
        target: an empty folder.
        calibration: what to calibrate AWQ on; None: int8.
    """
    # Progress bars are shown; not that there is no GPU, several times, and that a copy needs memory.
    os.environ.setdefault("LLM_COMPRESSOR_LOG_LEVEL", "ERROR")
    warnings.filterwarnings("ignore", "Attempting to save a model with offloaded modules")
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto", use_safetensors=True)
    if calibration:
        recipe = awq_recipe(model.config.model_type, calibration.group)
        oneshot(model=model, recipe=recipe, dataset=batches(AutoTokenizer.from_pretrained(source), calibration))
    else:
        oneshot(model=model, recipe=int8_recipe())
    model.save_pretrained(target, save_compressed=True)


def int8_recipe() -> Any:
    """Weights rounded to the nearest of 8 bits, a scale per row; activations likewise, per token, when they are used.

    Nothing is calibrated: SmoothQuant and GPTQ did not make it better (docs/log.md).
    """
    from llmcompressor.modifiers.quantization import QuantizationModifier

    return QuantizationModifier(targets="Linear", scheme="W8A8", ignore=["lm_head"])


def awq_recipe(model_type: str, group: int) -> list[Any]:
    """AWQ (https://arxiv.org/abs/2306.00978): 4-bit weights with a scale and a zero point per group."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQMapping, AWQModifier

    if not gpu_capabilities():
        _do_not_pin()
    mappings = [AWQMapping(_named(layer), [_named(name) for name in names]) for layer, names in GLM.items()]
    weights = QuantizationArgs(num_bits=4, type="int", symmetric=False, strategy="group", group_size=group)
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    return [
        AWQModifier(duo_scaling="both", mappings=mappings if model_type == "glm" else None),
        QuantizationModifier(config_groups={"group_0": scheme}, ignore=["lm_head"]),
    ]


def _named(layer: str) -> str:
    return f"re:.*{layer}$"


def _do_not_pin() -> None:
    """Keep llmcompressor from pinning memory for a GPU where there is none: torch refuses (0.14, `AWQModifier`)."""
    from llmcompressor.pipelines.cache import IntermediatesCache

    IntermediatesCache.pin_memory = lambda *args, **kwargs: None


def batches(tokenizer: Any, calibration: Calibration) -> Any:
    """The records of a calibration as a torch DataLoader, one per batch: prompt and answer, as in training."""
    import torch
    from torch.utils.data import DataLoader

    prompt, found, cut = calibration.prompt, [], 0
    for record in calibration.records:
        ids, _ = encode(tokenizer, "", prompt.messages(record.text), prompt.render(record), prompt.template_arguments)
        cut += len(ids) > calibration.length
        tokens = torch.tensor([ids[: calibration.length]])
        found.append({"input_ids": tokens, "attention_mask": torch.ones_like(tokens)})
    if cut:
        of = f"{cut} of {len(found)} records are cut after {calibration.length} tokens"
        print(f'note: {of}; --length raises that (make: ARGS="--length …")', flush=True)
    return DataLoader(found, batch_size=None, shuffle=False)
