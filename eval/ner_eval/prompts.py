"""Which prompt a model is asked with: the one it was trained with, unless the user insists on another."""

import sys
from pathlib import Path

from ner_data.alpaca import spec_file
from ner_data.errors import UserError, rooted
from ner_data.prompt import FILE_NAME, PromptSpec


def choose_prompt(
    prompt: Path | None, folder: Path | None, corpus: str | None, labels: tuple[str, ...], allow_other: bool
) -> PromptSpec:
    """Choose the prompt spec and make sure that it suits model and corpus.

    Args:
        prompt: the file that the user names; else the model folder's ``ner_prompt.json``, else the corpus's.
        folder: the adapter's or model's folder, if known; one without ``ner_prompt.json`` says nothing.
        corpus: name of the corpus, or None outside a corpus.
        labels: the label set that the answers will be scored with; empty where they will not be.
        allow_other: the user insists.

    Raises:
        UserError: no prompt to be found; or label set or answer form differ from the model's or the corpus's.
    """
    trained_file = folder / FILE_NAME if folder else None
    trained = PromptSpec.load(trained_file) if trained_file and trained_file.is_file() else None
    path = prompt or (trained_file if trained else spec_file(corpus) if corpus else None)
    if path is None:
        raise UserError(
            f"no prompt known for this model: name it with --prompt FILE or --adapter DIR (its {FILE_NAME})"
        )
    spec = PromptSpec.load(path, f"name one with --prompt, or run `make data CORPUS={corpus or '...'}`")
    if not allow_other:
        refuse_other(spec, path, trained, labels)
    if trained and trained.fingerprint != spec.fingerprint:
        print(f"note: {rooted(path)} is not the prompt that the model was trained with", file=sys.stderr)
    return spec


def refuse_other(spec: PromptSpec, path: Path, trained: PromptSpec | None, labels: tuple[str, ...]) -> None:
    """Raises:
    UserError: label set or answer form differ from the trained prompt's, or the label set from ``labels``.
    """
    insist = "use --allow-other-prompt to insist"
    if trained and set(trained.labels) != set(spec.labels):
        raise UserError(f"{rooted(path)}: the model was trained with the labels {', '.join(trained.labels)}; {insist}")
    if trained and trained.answer_form != spec.answer_form:
        raise UserError(f"{rooted(path)}: the model was trained to answer as {trained.answer_form}; {insist}")
    if labels and set(labels) != set(spec.labels):
        raise UserError(
            f"{rooted(path)}: asks for {', '.join(spec.labels)}, the corpus has {', '.join(labels)}; {insist}"
        )
