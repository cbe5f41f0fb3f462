"""What llamafactory really trains on: its loader's functions, watched while one training runs.

The prompt of the loaded records is compared with the prompt spec beside their file, and records that are cut are
counted, both before the model is loaded.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llamafactory_ner.checks.refusal import stop, user_errors_in_one_line, warn
from llamafactory_ner.cut_records import COUNTS, SOURCE, Lengths, counting, counts_of, problems
from llamafactory_ner.prompts import FILE_NAME, Prompt, common_prompt, resuming_problem, spec_beside, stored_prompt
from ner_common.errors import rooted
from ner_common.held_out import HeldOut, texts_checksum

RECORD = "_ner_record"  # column with a record's id; "" if its file has none


class TrainingData:
    """What is known of the data of one training; ``prompt`` is the adapter's once it has been checked."""

    def __init__(self) -> None:
        self.prompt: Prompt | None = None
        self.prompts: list[Prompt] = []
        self.without: list[str] = []  # data sets without a prompt spec
        self.adapters: list[str] = []  # from which training continues
        self.counts: dict[str, Lengths] = {}
        self.data_args: Any = None
        self.checked = False
        self.loaded: Any = None  # the last data set, with the columns of its file
        self.held_out: HeldOut | None = None  # None: nothing, or no ids tell what
        self.resumes = False

    def align(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `align_dataset`, which joins instruction and input: keep the records as they were loaded."""

        def align_dataset(dataset: Any, *args: Any) -> Any:
            self.loaded = dataset
            return original(dataset, *args)

        return align_dataset

    def load(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `_load_single_dataset`: compare the records with their prompt spec and note the file they are from."""

        def _load_single_dataset(dataset_attr: Any, model_args: Any, data_args: Any, training_args: Any) -> Any:
            if not training_args.do_train:
                return original(dataset_attr, model_args, data_args, training_args)
            self.adapters = list(model_args.adapter_name_or_path or [])
            name = str(dataset_attr.dataset_name)
            path = Path(data_args.dataset_dir, name) if dataset_attr.load_from == "file" else None
            # The spec first: if both files are replaced now, the records differ from it and are refused.
            with user_errors_in_one_line():
                spec = spec_beside(path) if path else None
                prompt = Prompt.read(spec) if spec else None
            dataset = original(dataset_attr, model_args, data_args, training_args)
            if path and prompt:
                self.compare(path, prompt, instructions(self.loaded, dataset_attr), dataset)
            else:
                self.without.append(name)
            if data_args.streaming:
                return dataset
            dataset = dataset.add_column(RECORD, ids(self.loaded))
            return dataset.add_column(SOURCE, [rooted(path) if path else name] * len(dataset))

        return _load_single_dataset

    def compare(self, path: Path, prompt: Prompt, asked: Iterable[Any], dataset: Any) -> None:
        """Stop if the loaded records of a file were written with another prompt than the spec says."""
        records = zip(asked, column(dataset, "_system"), column(dataset, "_prompt"), strict=True)
        read, others, first = prompt.differences(records)
        if others:
            stop(
                f"{rooted(path)}: the system text or instruction of {others:,} of {read:,} records (the first: record "
                f"{first}) is not that of {rooted(prompt.path)}; run `make data` to write both again"
            )
        self.prompts.append(prompt)

    def check(self, training_args: Any) -> None:
        """Settle the adapter's prompt, once all data sets are loaded; stop if there can be none."""
        self.checked = True
        with user_errors_in_one_line():
            self.prompt = common_prompt(self.prompts)
            if self.without:
                names = ", ".join(self.without)
                what = "the adapter learns their prompts too" if self.prompt else "the adapter gets no ner_prompt.json"
                warn(f"{names}: no prompt spec (CORPUS.prompt.json) beside the file, so {what}")
            checkpoint = checkpoint_of(training_args)
            self.resumes = checkpoint is not None
            if checkpoint and (problem := resuming_problem(checkpoint, self.prompt)):
                stop(problem)
            if checkpoint and self.prompt and not any(map(stored_prompt, (checkpoint, checkpoint.parent))):
                warn(f"{rooted(checkpoint)}: no {FILE_NAME} there; make sure that its prompt was the same")
            for adapter in self.adapters:
                before = stored_prompt(Path(adapter))
                if before and self.prompt and before.fingerprint != self.prompt.fingerprint:
                    warn(
                        f"{adapter} was trained with another prompt than {rooted(self.prompt.path)}, which it gets now"
                    )

    def split(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `split_dataset`: note which records are held out."""

        def split_dataset(dataset: Any, eval_dataset: Any, data_args: Any, seed: int) -> Any:
            train, held = original(dataset, eval_dataset, data_args, seed)
            drawn = held.get("validation") if dataset is not None and eval_dataset is None else None
            if RECORD in (getattr(drawn, "column_names", None) or []):
                self.hold_out(dataset, drawn, data_args.dataset, data_args.val_size, seed)
            return train, held

        return split_dataset

    def hold_out(self, dataset: Any, drawn: Any, names: Iterable[Any], val_size: float, seed: int) -> None:
        """Note which records are held out: those ``drawn`` from a data set, if its ids tell them apart."""
        every, records = list(column(dataset, RECORD)), tuple(column(drawn, RECORD))
        # With an id that occurs twice, a held-out record may have been trained on as well.
        if all(every) and len(set(every)) == len(every):
            # Whoever asks for these records later asks for all labels.
            asked = (self.whole(turns[-1]["content"]) for turns in column(drawn, "_prompt"))
            texts = texts_checksum(zip(records, asked, strict=True))
            self.held_out = HeldOut(tuple(map(str, names)), float(val_size), seed, texts, records)

    def whole(self, user_text: str) -> str:
        """A user turn that asks for all labels, whichever it asks for."""
        for prompt in self.prompts:
            user_text = prompt.whole(user_text)
        return user_text

    def encode(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `_get_preprocessed_dataset`: take the counts out of the encoded data set."""

        def _get_preprocessed_dataset(
            dataset: Any, data_args: Any, training_args: Any, *args: Any, **kwargs: Any
        ) -> Any:
            if training_args.do_train and not self.checked:
                self.check(training_args)
            self.data_args = data_args
            encoded = original(dataset, data_args, training_args, *args, **kwargs)
            if COUNTS not in (getattr(encoded, "column_names", None) or []):
                return encoded
            for name, found in counts_of(encoded[COUNTS]).items():
                self.counts.setdefault(name, Lengths()).add(found)
            return encoded.remove_columns(COUNTS)

        return _get_preprocessed_dataset

    def finish(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `get_dataset_module`, through which every data set leaves the loader: say what was counted."""

        def get_dataset_module(dataset: Any) -> Any:
            if self.counts:  # else the data were encoded earlier, or not to train
                for line in problems(self.counts, self.data_args):
                    warn(line)
            return original(dataset)

        return get_dataset_module

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Wrap the loader's functions inside the block."""
        from llamafactory.data import loader

        processors = (loader.SupervisedDatasetProcessor, loader.PackedSupervisedDatasetProcessor)
        wrapped = [
            (loader, "align_dataset", self.align),
            (loader, "_load_single_dataset", self.load),
            (loader, "split_dataset", self.split),
            (loader, "_get_preprocessed_dataset", self.encode),
            (loader, "get_dataset_module", self.finish),
            *((processor, "preprocess_dataset", counting) for processor in processors),
        ]
        originals = [(place, name, getattr(place, name)) for place, name, _ in wrapped]
        for place, name, wrap in wrapped:
            setattr(place, name, wrap(getattr(place, name)))
        try:
            yield
        finally:
            for place, name, original in originals:
                setattr(place, name, original)


def column(dataset: Any, name: str) -> Iterator[Any]:
    """The values of a column, whether the data set is in memory or streamed."""
    for batch in dataset.select_columns([name]).iter(batch_size=1000):
        yield from batch[name]


def ids(dataset: Any) -> list[str]:
    """The id of each record as its file gives it; "" for each if there are none."""
    if "id" not in dataset.column_names:
        return [""] * len(dataset)
    return ["" if value is None else str(value) for value in column(dataset, "id")]


def instructions(dataset: Any, dataset_attr: Any) -> Iterable[Any]:
    """The instruction of each record; None for each if the registry has something else asked than it and the input."""
    attr = dataset_attr
    if attr.formatting == "alpaca" and attr.prompt and attr.query and not attr.tools:
        return column(dataset, attr.prompt)
    return (None for _ in dataset)


def checkpoint_of(training_args: Any) -> Path | None:
    """The checkpoint that training continues from: the one that was named, or the last in the output folder."""
    from transformers.trainer_utils import get_last_checkpoint

    named = training_args.resume_from_checkpoint
    if not named or str(named).lower() == "false":
        return None
    if Path(str(named)).is_dir():
        return Path(str(named))
    folder = Path(training_args.output_dir)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    return Path(last) if last else None
