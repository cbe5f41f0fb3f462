"""How much must be annotated: F1 after training on ever more sentences of a corpus.

::

    .venv/bin/python tests/bench/learning_curve.py --model qwen2.5-0.5b --corpus cluener --split dev \
        --sizes 250 500 1000 2000 4000 -- num_train_epochs=3

Every size is trained from the base, with the recipe of the model and the overrides given; the sentences of a size are
among those of the next one. All points are published as one learning curve (``ner-eval publish --curve``), with a plot
in docs/benchmarks.md.
"""

import argparse
from pathlib import Path

from chain import Chain, add_arguments


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--sizes", type=int, nargs="+", required=True, help="numbers of sentences to train on")
    parser.add_argument("--curve", default="random sentences", help="name of the curve")
    args = parser.parse_args()
    chain = Chain.of(args, Path("cache/learning-curve/log"))
    for size in sorted(args.sizes):
        name = f"{args.corpus}-{size}"
        # LLaMA-Factory takes the first records; those of a corpus must be in no order of their own.
        chain.train(name, args.corpus, f"max_samples={size}", "val_size=0", "do_eval=false", "eval_strategy='no'")
        print(f"{size:>6} sentences  micro F1 {chain.score(name, args.curve):.4f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
