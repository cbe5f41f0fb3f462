"""What an adapter's folder holds, and the name under which it is served."""

from pathlib import Path

ADAPTER_CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # PEFT's
ENCODER_FILE = "prompt_encoder.safetensors"  # a soft prompt's MLP, which only further training needs


def served_name(folder: Path) -> str:
    """A name from the folder: saves/nano/lora/demo is called nano-lora-demo, other folders by their own name."""
    parts = folder.parts
    named = parts[parts.index("saves") + 1 :] if "saves" in parts else parts[-1:]
    return "-".join(named) or folder.resolve().name
