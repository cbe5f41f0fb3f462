"""``ner-model answer-batch``: vLLM answers a file of requests without a server (``vllm run-batch``).

The model is the one that `ner-model serve` would serve, with the same arguments.
"""

import argparse
import os
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from ner_common.errors import UserError, rooted
from ner_models.serving.command import Settings, as_word, check_settings, cpu_environment, engine_arguments
from ner_models.serving.serve import add_model_arguments, read_models
from ner_models.serving.soft_prompts import KINDS, SoftPrompts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--requests", type=Path, required=True, metavar="FILE", help="An OpenAI batch file.")
    parser.add_argument("--results", type=Path, required=True, metavar="FILE", help="Where the answers are written.")


def run(args: argparse.Namespace) -> None:
    settings = Settings(
        **{field.name: getattr(args, field.name) for field in fields(Settings) if hasattr(args, field.name)}
    )
    answer_batch(args.adapters, args.requests, args.results, base=args.base, settings=settings)


def answer_batch(
    adapters: list[str], requests: Path, results: Path, *, base: Path | None = None, settings: Settings | None = None
) -> None:
    """Have vLLM answer the requests in a file; the results appear when all are answered.

    Args:
        adapters: folders of adapters, or of one whole model, each ``DIR`` or ``NAME=DIR``.
        requests: an OpenAI batch file, as `ner-eval predict --batch` writes it.
        base: the base model's folder; by default the one the adapters were trained on.

    Raises:
        UserError: there are no requests, a model cannot be asked offline, or vLLM failed.
    """
    settings = settings or Settings()
    check_settings(settings)
    if not requests.is_file():
        raise UserError(f"{rooted(requests)}: no such file; write it with `ner-eval predict --batch`")
    base, served_base, loaded = read_models(adapters, base)
    if soft := [adapter for adapter in loaded if adapter.kind in KINDS]:
        problem = f"{soft[0].kind} needs our server, which adds the virtual tokens to a request"
        raise UserError(f"{rooted(soft[0].path)}: {problem}; use `make serve eval`")
    unfinished = results.with_name(f"{results.name}.part")
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.run_batch"),
        *("-i", as_word(requests), "-o", as_word(unfinished), "--model", as_word(base)),
        *engine_arguments(settings, base, served_base, loaded, SoftPrompts()),
    ]
    print(shlex.join(command), flush=True)
    # vLLM's own progress bar is shown, not its log of the start.
    environment = {"VLLM_LOGGING_LEVEL": "ERROR"} | os.environ | cpu_environment(base)
    try:
        ended = subprocess.run(command, env=environment)
        if ended.returncode or not unfinished.is_file():
            raise UserError(f"vLLM ended with exit code {ended.returncode}; see its messages above")
        unfinished.replace(results)
    finally:
        unfinished.unlink(missing_ok=True)
