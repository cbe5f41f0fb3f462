"""``ner-model``: a model's life from download to server."""

from ner_common.commands import program

COMMANDS = {
    "download": ("ner_models.download", "bring a base model from ModelScope into models/"),
    "convert-chatglm3": ("ner_models.chatglm3.convert", "original chatglm3-6b to a native checkpoint, no remote code"),
    "import-prefix": (
        "ner_models.chatglm3.prefix",
        "P-Tuning v2 checkpoint of old chatglm code to a PEFT adapter",
    ),
    "export": ("ner_models.serving.baking", "bake a P-tuning adapter into a plain checkpoint"),
    "pretrain-nano": ("ner_models.nano.pretrain", "make the embedded base model anew from generated text"),
    "serve": ("ner_models.serving.serve", "start vLLM with a base model and its adapters, wait until it answers"),
    "stop": ("ner_models.serving.stop", "stop a server that `serve` started"),
}

entry_point = program("ner-model", "A model's life from download to server.", COMMANDS)
