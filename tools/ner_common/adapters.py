"""What is in the folder of a trained adapter or whole model, and the name under which it is served."""

from pathlib import Path

ADAPTER_CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # PEFT's
STATE = "trainer_state.json"  # transformers': steps and losses
ENCODER_FILE = "prompt_encoder.safetensors"  # a soft prompt's MLP, which only further training needs
CALIBRATION = "ner_calibration.json"  # what the scores of the model are worth; `ner-eval calibrate` writes it


def is_whole_model(folder: Path) -> bool:
    """Whether a folder holds a model, as full fine-tuning and merging leave it, and no adapter."""
    return (folder / "config.json").is_file() and not (folder / ADAPTER_CONFIG).is_file()


def served_name(folder: Path) -> str:
    """A name from the folder: saves/nano/lora/demo is called nano-lora-demo, other folders by their own name."""
    parts = folder.parts
    named = parts[parts.index("saves") + 1 :] if "saves" in parts else parts[-1:]
    return "-".join(named) or folder.resolve().name
