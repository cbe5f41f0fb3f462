"""``ner-model``: prepare base models and serve them with their adapters."""

from ner_common.commands import program

COMMANDS = {
    "download": ("ner_models.download", "download a base model from ModelScope into models/ and check it"),
    "convert-chatglm3": (
        "ner_models.chatglm3.convert",
        "convert an original chatglm3-6b into a checkpoint that needs no remote code",
    ),
    "import-prefix": (
        "ner_models.chatglm3.prefix",
        "convert a P-Tuning v2 checkpoint of ChatGLM's own scripts into a PEFT adapter",
    ),
    "export": (
        "ner_models.serving.baking",
        "merge a P-tuning adapter and its base model into a checkpoint for any server",
    ),
    "pretrain-nano": ("ner_models.nano.pretrain", "pretrain nano, the embedded base model, on generated text"),
    "serve": ("ner_models.serving.serve", "start vLLM with a base model and its adapters, and wait until it answers"),
    "stop": ("ner_models.serving.stop", "stop a server that `ner-model serve` started"),
}

entry_point = program(
    "ner-model", "Prepare base models (download, convert, pretrain) and serve them with their adapters.", COMMANDS
)
