"""The prompt that an adapter is trained with: found beside the training file, compared with it, stored.

`ner-data alpaca` writes ``CORPUS_train.json`` and, in the same folder, ``CORPUS.prompt.json``. What is compared with
that spec is what llamafactory has loaded, so the file may be replaced at any time without a wrong spec being stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llamafactory_ner.methods import is_set
from ner_common.decoding import convert
from ner_common.errors import UserError, rooted
from ner_common.files import read_json, write_json
from ner_common.fingerprints import prompt_fingerprint

FILE_NAME = "ner_prompt.json"
WEIGHTS = ("adapter_model*.safetensors", "adapter_model*.bin", "model*.safetensors")
REMEDY = "run `make data` to write it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What of a prompt spec the model sees or must answer with, and the fingerprint of that."""

    system: str
    instruction: str
    labels: tuple[str, ...]
    answer_form: str
    fingerprint: str
    again: str = ""  # what stands between two copies of the text, if a prompt gives it twice

    def asks(self, text: str) -> bool:
        """Whether the text after an instruction is there as often as it should."""
        if not self.again:
            return True
        between = f"\n{self.again}\n"
        once = text[: (len(text) - len(between)) // 2]
        return text == f"{once}{between}{once}"

    def __post_init__(self) -> None:
        found = prompt_fingerprint(self.system, self.instruction, self.labels, self.answer_form, self.again)
        if found != self.fingerprint:
            raise ValueError(f"edited by hand (fingerprint {self.fingerprint}, contents {found})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What of a prompt spec bounds an answer in tokens and a text in characters; no prompt depends on it.

    ``several_sentences``: whether documents are cut into pieces of several sentences.
    ``fewer``: the instructions that records may have instead, which ask for some of the labels only.
    """

    max_tokens: int
    longest_text: int = 256
    several_sentences: bool = False
    fewer: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.longest_text < 1:
            raise ValueError("max_tokens and longest_text must be 1 or more")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt spec: the file it was read from, its JSON object, and the parts of it that are used here."""

    path: Path
    value: Mapping[str, Any]
    seen: Seen
    bounds: Bounds

    @classmethod
    def read(cls, path: Path, remedy: str = REMEDY) -> "Prompt":
        """Read a prompt spec.

        Raises:
            UserError: the file is missing or not a prompt spec, or its fingerprint does not match its contents.
        """
        value = read_json(path, remedy, dict[str, Any])
        try:
            return cls(path, value, convert(value, Seen), convert(value, Bounds))
        except ValueError as error:
            raise UserError(f"{rooted(path)}: {error}; {remedy}") from None

    @property
    def fingerprint(self) -> str:
        return self.seen.fingerprint

    def told(self, arguments: Mapping[str, Any]) -> "Prompt":
        """The spec with what a training's arguments tell the chat template, which servers have to be told too."""
        if (thinking := arguments.get("enable_thinking")) is None:
            return self
        return replace(self, value={**self.value, "enable_thinking": is_set(thinking)})

    def whole(self, user_text: str) -> str:
        """A user turn that asks for all labels, whichever it asks for."""
        fewer = next((one for one in self.bounds.fewer if user_text.startswith(f"{one}\n")), None)
        return self.seen.instruction + user_text[len(fewer) :] if fewer else user_text

    def differences(self, records: Iterable[tuple[Any, Any, list[dict[str, str]]]]) -> tuple[int, int, int]:
        """Compare the prompts of records with this one.

        Args:
            records: of each, its instruction before llamafactory joins it with the input (None: it has none of its
                own), and then its system text and chat turns as llamafactory makes them of it.

        Returns:
            The number of records, how many have another system text or instruction (or have the text once instead of
            twice), and which is the first (from 1). An instruction that asks for fewer labels is none of these.
        """
        read = others = first = 0
        instructions = {self.seen.instruction, *self.bounds.fewer}
        for read, (instruction, system, turns) in enumerate(records, start=1):
            known = instruction in instructions and (system, len(turns)) == (self.seen.system, 1)
            if not known or not self.seen.asks(turns[0]["content"][len(instruction) + 1 :]):
                others += 1
                first = first or read
        return read, others, first


def spec_beside(training_file: Path) -> Path | None:
    """The prompt spec of a training file ``CORPUS_SPLIT.json``, if there is one; both names may contain ``_``."""
    parts = training_file.stem.split("_")
    names = ("_".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((path for name in names if (path := training_file.with_name(f"{name}.prompt.json")).is_file()), None)


def common_prompt(prompts: list[Prompt]) -> Prompt | None:
    """The prompt of several data sets, with the widest of their bounds; None if none has one.

    Raises:
        UserError: they have different prompts.
    """
    if not prompts:
        return None
    first = prompts[0]
    for other in prompts[1:]:
        if other.fingerprint != first.fingerprint:
            raise UserError(
                f"{rooted(first.path)} and {rooted(other.path)} are different prompts, and an adapter has one; "
                "name data sets of one prompt (the same labels and the same form)"
            )
    names = ("max_tokens", "longest_text", "several_sentences")
    most = {name: max(getattr(prompt.bounds, name) for prompt in prompts) for name in names}
    widest = {name: value for name, value in most.items() if value}  # as specs are written
    bounds = replace(first.bounds, **widest)
    return Prompt(first.path, {**first.value, **widest}, first.seen, bounds)


def stored_prompt(folder: Path) -> Prompt | None:
    """The prompt stored with an adapter or checkpoint; None if there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE_NAME
    return Prompt.read(path, "restore it, or train again from the start") if path.is_file() else None


def resuming_problem(checkpoint: Path, prompt: Prompt | None) -> str | None:
    """Why training must not continue from a checkpoint with this prompt.

    Raises:
        UserError: the checkpoint's prompt spec is damaged.
    """
    before = stored_prompt(checkpoint) or stored_prompt(checkpoint.parent)
    if before is None or (prompt and prompt.fingerprint == before.fingerprint):
        return None
    now = f"{rooted(prompt.path)} is {prompt.fingerprint}" if prompt else "the data sets have no prompt spec"
    return (
        f"{rooted(checkpoint)} was trained with another prompt ({before.fingerprint}; {now}); start again with "
        "overwrite_output_dir=true or in another output_dir, or restore the training files"
    )


def store_prompt(folder: Path, prompt: Prompt | None) -> str | None:
    """Make ``prompt`` the spec of the adapter that a folder will hold; returns a note if something was removed.

    Weights that were trained with another prompt, or an unknown one, are removed first: no interruption leaves them
    with this one.
    """
    try:
        before = stored_prompt(folder)
    except UserError:
        before = None
    if prompt is None:
        (folder / FILE_NAME).unlink(missing_ok=True)
        return None
    if before and before.fingerprint == prompt.fingerprint:
        stale = []
    else:
        stale = [path for pattern in WEIGHTS for path in folder.glob(pattern) if path.is_file()]
    for path in stale:
        path.unlink()
    write_json(folder / FILE_NAME, dict(prompt.value))
    replaced = "the adapter there had another prompt, or an unknown one, and is replaced"
    return f"{rooted(folder)}: {replaced}" if stale else None
