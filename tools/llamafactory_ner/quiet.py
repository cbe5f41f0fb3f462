"""Run llamafactory-cli with its log in a file: ``python -m llamafactory_ner.quiet llamafactory-cli train RECIPE …``.

The same for ``ner-model train RECIPE …``, which trains without llamafactory.

Shown are a progress bar with the loss, what the plugin has to say, and what was written. The log is a file next to the
output folder, saves/nano/lora/demo.log for saves/nano/lora/demo, to which every run is appended; it holds a training
record as an example, so it is not put into a folder that gets shared. The exit code is llamafactory's.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llamafactory_ner.progress import EVENTS
from ner_common.adapters import is_whole_model
from ner_common.commands import safe_terminal
from ner_common.decoding import decode_json
from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import read_object, read_text, read_yaml
from ner_common.training_record import now

OUTPUT = {"train": "output_dir", "export": "export_dir"}  # command -> the argument with the output folder
WRITTEN = {"train": "adapter", "export": "merged"}
INTERRUPTED, REFUSED = 130, 2
# The last line of a traceback; torchrun's own follow those of the process that failed.
ERROR = re.compile(r"^(?:\[rank\d+\]: ?)?((?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*)$")
# As transformers writes them, which is not JSON.
NOT_FINITE = re.compile(r'_loss": (?:NaN|-?Infinity)')
TORCHRUN = ("torch.distributed.elastic", "subprocess.CalledProcessError")


def main() -> None:
    """Run the command in ``sys.argv`` and exit with its code."""
    with safe_terminal():
        try:
            raise SystemExit(run(sys.argv[1:]))
        except UserError as error:
            say(str(error))
            raise SystemExit(REFUSED) from None
        except OSError as error:
            say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
            raise SystemExit(REFUSED) from None


def say(message: str) -> None:
    print(f"llamafactory_ner: {message}", file=sys.stderr, flush=True)


def run(command: list[str]) -> int:
    """Run ``llamafactory-cli train|export RECIPE [key=value …]`` and show its progress.

    Returns:
        Its exit code; 2 if the plugin refused the recipe, 130 if it was interrupted.

    Raises:
        UserError: the command has another form, or the recipe cannot be read.
    """
    if len(command) < 3 or command[1] not in OUTPUT:
        raise UserError("usage: python -m llamafactory_ner.quiet llamafactory-cli train|export RECIPE [key=value …]")
    kind = command[1]
    folder = output_folder(Path(command[2]), command[3:], OUTPUT[kind])
    log = folder.with_name(f"{folder.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(f"== {now()} {' '.join(command)}\n".encode(errors="backslashreplace"))
        file.flush()
        start = file.tell()
        program = escaped(Path(command[0]).name.removesuffix("-cli"))
        print(f"log of {program}: {rooted(log)}", file=sys.stderr, flush=True)
        code, refused = watch(command, file)
    if code == 0:
        print_result(folder)
        print(f"{'model' if kind == 'train' and is_whole_model(folder) else WRITTEN[kind]}: {folder}")
    elif refused:
        return REFUSED
    elif code == INTERRUPTED:
        say(f"interrupted; the log is {rooted(log)}")
    elif code == 128 + signal.SIGKILL:
        say(f"{kind} was killed (signal 9; too little memory?); the log is {rooted(log)}")
    else:
        say(f"{kind} failed (exit code {code}): {last_error(log, start)}; the log is {rooted(log)}")
    return code


def print_result(folder: Path) -> None:
    """The losses of a training, and where they are plotted.

    Raises:
        UserError: a loss is not a number.
    """
    path = folder / "all_results.json"
    if path.is_file() and NOT_FINITE.search(read_text(path, "train again")):
        raise UserError(f"{rooted(folder)}: a loss is not a number, so the weights are useless; lower learning_rate")
    results = read_object(path)
    losses = {name: results.get(f"{key}_loss") for name, key in (("training", "train"), ("evaluation", "eval"))}
    said = ", ".join(f"{name} loss {value:.4f}" for name, value in losses.items() if isinstance(value, float))
    plot = folder / "training_loss.png"
    if said:
        print(said + (f" (plot: {plot})" if plot.is_file() else ""))


def output_folder(recipe: Path, overrides: list[str], name: str) -> Path:
    """Where a recipe with its overrides writes.

    Raises:
        UserError: the recipe cannot be read, or names no folder.
    """
    given = [word.partition("=")[2] for word in overrides if word.startswith(f"{name}=")]
    recipes = read_yaml(recipe, "name a recipe, such as recipes/MODEL/METHOD.yaml")
    folder = given[-1] if given else recipes.get(name) if isinstance(recipes, dict) else None
    if not isinstance(folder, str) or not Path(folder).name:
        raise UserError(f"{rooted(recipe)}: {name} is {one_line(folder)}; name a folder")
    return Path(folder)


def watch(command: list[str], log: Any) -> tuple[int, bool]:
    """Run a command with its output in ``log``; returns its exit code, and whether the plugin refused to go on."""
    refused = interrupted = False
    with tempfile.TemporaryDirectory() as folder, screen() as show:
        events = Path(folder) / "events"
        events.touch()
        # llamafactory-cli starts torchrun by its name; it is beside this program's python.
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        environment = {**os.environ, "PATH": programs, EVENTS: str(events)}
        with events.open("rb") as told, child(command, environment, log) as process:
            while True:
                try:
                    ended = ended_within(process, 0.2)
                    for event in read_events(told):
                        refused |= "refused" in event
                        show(event)
                    if ended:
                        break
                except KeyboardInterrupt:  # the terminal has sent it to llamafactory too
                    if interrupted:
                        process.kill()
                    interrupted = True
    code = process.returncode
    if interrupted or code == -signal.SIGINT:
        return INTERRUPTED, refused
    return (128 - code if code < 0 else code), refused


@contextmanager
def child(command: list[str], environment: dict[str, str], log: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that ends with the block."""
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def ended_within(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def read_events(file: Any) -> Iterator[dict[str, Any]]:
    """The events written since the last call; a line that is still being written is left for the next."""
    while line := file.readline():
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)
            return
        yield decode_json(line, dict[str, Any])


@contextmanager
def screen() -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that shows events: a bar on a terminal, a line per loss elsewhere."""
    from tqdm import tqdm

    bar: Any = None
    terminal = sys.stderr.isatty()

    def show(event: dict[str, Any]) -> None:
        nonlocal bar
        if text := event.get("say") or event.get("refused"):
            tqdm.write(f"llamafactory_ner: {' '.join(text.splitlines())}", file=sys.stderr)
            return
        losses = {name: shown(event[name]) for name in ("loss", "eval_loss") if name in event}
        if "step" in event and terminal:
            bar = bar if bar is not None else tqdm(total=event["of"], unit="step", file=sys.stderr)
            bar.update(event["step"] - bar.n)
            if losses:
                bar.set_postfix(losses)
        elif losses:
            said = ", ".join(f"{name} {value}" for name, value in losses.items())
            print(f"step {event['step']}/{event['of']}: {said}", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def shown(loss: float | None) -> str:
    return "not a number" if loss is None else f"{loss:.4f}"


def last_error(log: Path, start: int) -> str:
    """The error that ended a run, from the part of its log after ``start`` bytes: one line."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - (1 << 20)))
        lines = [line.strip() for line in re.split(r"[\r\n]+", file.read().decode(errors="replace")) if line.strip()]
    errors = [found[1] for line in lines if (found := ERROR.match(line)) and not found[1].startswith(TORCHRUN)]
    return escaped((errors or lines or ["it said nothing"])[-1], 300)


if __name__ == "__main__":
    main()
