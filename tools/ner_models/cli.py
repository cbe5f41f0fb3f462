"""``ner-model``: prepare base models and serve them with their adapters."""

from ner_common.commands import program

COMMANDS = {
    "download": ("ner_models.download", "Download a base model from ModelScope into models/, and check it."),
    "convert-chatglm3": (
        "ner_models.chatglm3.convert",
        "Convert an original chatglm3-6b into a checkpoint that needs no code of its own.",
    ),
    "import-prefix": (
        "ner_models.chatglm3.prefix",
        "Convert a P-Tuning v2 checkpoint of ChatGLM's own scripts into a PEFT adapter.",
    ),
    "export": (
        "ner_models.serving.baking",
        "Merge a P-tuning adapter and its base model into a checkpoint that any vLLM serves.",
    ),
    "export-gguf": (
        "ner_models.export_gguf",
        "Convert a merged model to GGUF, for llama.cpp and what is built on it.",
    ),
    "check-merge": (
        "ner_models.merged",
        "Compare the answers of a merged model with those of the adapter that was merged.",
    ),
    "train": ("ner_models.peft_training.train", "Train a LoRA adapter by transformers and PEFT alone."),
    "pretrain-nano": ("ner_models.nano.pretrain", "Pretrain nano, the embedded base model, on generated text."),
    "serve": (
        "ner_models.serving.serve",
        "Start a vLLM server with a base model and its adapters, and wait until it answers.",
    ),
    "answer-batch": (
        "ner_models.serving.offline",
        "Have vLLM answer a file of requests without a server.",
    ),
    "stop": ("ner_models.serving.stop", "Stop the server that `ner-model serve` started on a port."),
}

entry_point = program(
    "ner-model",
    "Download, convert, pretrain and train models, and serve them with the adapters trained on them.",
    COMMANDS,
)
