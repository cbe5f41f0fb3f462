"""Words of --vllm-args, however they are written: what decides what is served, and where, stays ours."""

import argparse
import random
from contextlib import suppress

import pytest

from ner_models.serving.command import FIXED, more_arguments
from serving_support import allowed


def attack_arguments(count: int) -> None:
    """What is let through changes none of the fixed options, as argparse reads them: abbreviated, with = or _."""
    rng = random.Random(count)
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False)
    for option in (*FIXED, "--seed", "--model-impl", "--max-num-seqs", "--port-range"):
        parser.add_argument(option, nargs="?", const=True)
    fixed = {option[2:].replace("-", "_") for option in FIXED}
    passed = 0
    for _ in range(count):
        words = []
        for _ in range(rng.randrange(1, 4)):
            option = rng.choice(
                [*FIXED, "--seed", "--max-num-seqs", "x", "-tp", "'", '"', "--", "a b", "\\", "\n", "--x"]
            )
            option = option[: rng.randrange(1, 30)] if rng.random() < 0.5 else option
            option = option.replace("-", rng.choice("-_")) if option[2:].isalpha() else option
            words.append(option + rng.choice(["", "=1", ".a", " 1"]))
        text = " ".join(words)
        given = allowed(lambda text=text: more_arguments(text, []))
        if given is None:
            continue
        passed += 1
        dashed = [word if not word.startswith("--") else word.replace("_", "-") for word in given]
        with suppress(argparse.ArgumentError, SystemExit):
            read, _ = parser.parse_known_args([word for word in dashed if word != "--"])
            assert not {name for name in fixed if getattr(read, name) is not None}, text
    assert passed > count / 20


def test_arguments_for_vllm_that_contradict_ours() -> None:
    attack_arguments(3000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_arguments_for_vllm_that_contradict_ours() -> None:
    attack_arguments(60_000)
