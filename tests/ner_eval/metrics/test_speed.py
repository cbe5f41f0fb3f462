"""How fast scoring is: 100,000 sentences, measured next to nervaluate in one run (``pytest -s`` prints the figures)."""

import random
import time

import pytest
from nervaluate import Evaluator

from ner_data.gold import Entity, Record
from ner_eval.metrics.loaded_run import load_run
from ner_eval.metrics.mention_arrays import mention_arrays
from ner_eval.metrics.modes import count_modes
from ner_eval.metrics.results import score_run

SENTENCES = 100_000
LABELS = tuple("abcdefghij")


def sentence(number: int, rng: random.Random) -> Record:
    """40 characters with two or three mentions, much like CLUENER."""
    text = "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(40))
    starts = sorted(rng.sample(range(0, 36, 6), rng.randint(1, 3)))
    entities = []
    for start in starts:
        end = start + rng.randint(2, 5)
        entities.append(Entity(start, end, rng.choice(LABELS), text[start:end]))
    return Record(f"s-{number}", text, tuple(entities))


@pytest.mark.slow
def test_100000_sentences_are_scored_in_10_s_and_20_times_as_fast_as_nervaluate(make_run, corrupt, capsys):
    rng = random.Random(0)
    records = [sentence(number, rng) for number in range(SENTENCES)]
    folder = make_run(records, {r.id: corrupt(r, LABELS, rng) for r in records}, LABELS)
    # CPU time, so other work on the machine does not count.
    start = time.process_time()
    run = load_run(str(folder))
    loading = time.process_time() - start
    start = time.process_time()
    score_run(run)
    counting = time.process_time() - start

    start = time.process_time()
    table = mention_arrays(run.answered, run.labels)
    count_modes(table)
    modes = (time.process_time() - start) / SENTENCES

    # A tenth is enough for nervaluate: its time grows with the number of sentences.
    some = run.answered[: SENTENCES // 10]
    gold = [[{"label": e.label, "start": e.start, "end": e.end - 1} for e in item.record.gold] for item in some]
    predicted = [
        [
            {"label": mention.label, "start": span[0], "end": span[1] - 1}
            for mention, span in zip(item.parsed.mentions, item.spans, strict=True)
            if span
        ]
        for item in some
    ]
    start = time.process_time()
    Evaluator(gold, predicted, tags=list(LABELS), loader="dict").evaluate()
    theirs = (time.process_time() - start) / len(some)
    whole = theirs * SENTENCES / (loading + counting)
    with capsys.disabled():
        print(f"\n{SENTENCES} sentences: read, parsed, aligned {loading:.1f} s; counted {counting:.1f} s (CPU time)")
        print(f"the modes: {modes * 1e6:.1f} µs per sentence, nervaluate {theirs * 1e6:.0f} µs")
        print(f"ratio {theirs / modes:.0f}; nervaluate's modes over all that `score` does: {whole:.1f}")
    assert loading + counting < 10
    assert theirs / modes > 20
