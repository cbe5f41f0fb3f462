"""``ner-eval compare``: runs side by side, paired."""

import json
import random

import numpy as np
import pytest
from msgspec.structs import replace

from ner_data.gold import Entity, Record
from support import one_line_error

LABELS = ("name", "company")


def records(count: int = 120) -> list[Record]:
    return [
        Record(f"t-{n}", "林晓在云帆科技任经理", (Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技")))
        for n in range(count)
    ]


def answers(quality: float, seed: int, count: int = 120) -> dict[str, str]:
    rng = random.Random(seed)
    items = [{"label": "name", "text": "林晓"}, {"label": "company", "text": "云帆科技"}]
    return {
        f"t-{n}": json.dumps([item for item in items if rng.random() < quality], ensure_ascii=False)
        for n in range(count)
    }


def row(out: str, name: str) -> list[str]:
    return next(line for line in out.splitlines() if line.split()[:1] == [name]).split()


def test_a_better_run_is_better_with_a_small_p(make_run, ner_eval):
    worse = make_run(records(), answers(0.6, 1), name="worse")
    better = make_run(records(), answers(0.95, 2), name="better")
    ended = ner_eval("compare", worse, better)
    assert ended.code == 0
    assert "demo/test, 120 sentences; protocol: text, Micro Avg. F1; lenient parsing" in ended.out
    cells = row(ended.out, "better")
    assert float(cells[6]) > 0.1
    assert float(cells[9]) < 0.01
    back = row(ner_eval("compare", better, worse).out, "worse")
    assert float(back[6]) == -float(cells[6])
    assert back[9] == cells[9]


def test_a_run_does_not_differ_from_itself(make_run, ner_eval):
    one = make_run(records(), answers(0.7, 1), name="one")
    same = make_run(records(), answers(0.7, 1), name="same")
    cells = row(ner_eval("compare", one, same).out, "same")
    assert cells[6:] == ["+0.0000", "[+0.0000,", "+0.0000]", "1.000", "0"]


def hits(quality: tuple[float, float], seed: int) -> tuple[np.ndarray, dict[str, str]]:
    """Which of 120 names and of 24 companies in the same sentences are found; as an array and as answers."""
    found = np.random.default_rng(seed).random((120, 2)) < quality
    items = [{"label": "name", "text": "林晓"}, {"label": "company", "text": "云帆科技"}]
    kept = {f"t-{n}": [items[i] for i in range(2) if found[n, i] and (i == 0 or n % 5 == 0)] for n in range(120)}
    return found, {key: json.dumps(value, ensure_ascii=False) for key, value in kept.items()}


@pytest.mark.parametrize(("protocol", "sign"), [("text", 1), ("official", -1)])
def test_difference_interval_and_p_are_those_of_a_direct_computation(make_run, ner_eval, protocol, sign):
    """One run is better at the many names, the other at the few companies: micro and macro disagree on which is better.

    Nothing is spurious, so the F1 of h hits among w wanted is 2h / (h + w).
    """
    gold = [replace(r, entities=r.gold if n % 5 == 0 else r.gold[:1]) for n, r in enumerate(records())]
    wanted = np.array([[1, n % 5 == 0] for n in range(120)], dtype=int)
    (one, first), (other, second) = hits((0.70, 0.65), 0), hits((0.82, 0.45), 103)
    folders = make_run(gold, first, name="one"), make_run(gold, second, name="other")
    cells = row(ner_eval("compare", *folders, "--protocol", protocol).out, "other")
    drawn = np.random.default_rng(9).integers(0, 120, size=(4000, 120))

    def f1(found: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        counts = [table[chosen].sum(axis=-2) for table in (found * wanted, wanted)]
        h, w = counts if protocol == "official" else [c.sum(axis=-1, keepdims=True) for c in counts]
        return (2 * h / (h + w)).mean(axis=-1)

    everything = np.arange(120)
    difference = f1(other, everything) - f1(one, everything)
    resampled = f1(other, drawn) - f1(one, drawn)
    assert difference * sign > 0.05
    assert float(cells[6]) == pytest.approx(difference, abs=6e-5)
    low, high = (float(cell.strip("[],")) for cell in cells[7:9])
    assert (low, high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])), abs=0.015)
    p = 2 * min((resampled <= 0).mean(), (resampled >= 0).mean())
    assert 0.01 < p < 0.2
    assert float(cells[9]) == pytest.approx(p, abs=0.03)


@pytest.mark.parametrize("protocol", ["text", "span", "official"])
def test_three_runs_are_compared_under_every_protocol(make_run, ner_eval, protocol):
    folders = [make_run(records(), answers(0.5 + n / 10, n), name=f"run{n}") for n in range(3)]
    out = ner_eval("compare", *folders, "--protocol", protocol).out
    assert "F1 by label" in out
    for n in range(3):
        assert row(out, f"run{n}")


def test_equal_models_are_rarely_called_different(make_run, ner_eval):
    """Forty pairs of runs of the same quality: p below 0.05 in about two of them."""
    low = 0
    for pair in range(40):
        one, other = (make_run(records(), answers(0.7, 1000 + 2 * pair + n), name=f"r{pair}-{n}") for n in range(2))
        low += float(row(ner_eval("compare", one, other).out, other.name)[9]) < 0.05
    assert low <= 7


def test_a_scores_file_replaces_a_run_without_significance(make_run, ner_eval):
    one, other = make_run(records(), answers(0.6, 1), name="one"), make_run(records(), answers(0.9, 2), name="other")
    assert ner_eval("score", one).code == 0
    out = ner_eval("compare", one / "scores.json", other).out
    assert "no significance" in out
    assert len(row(out, "one")) == len(row(out, "other")) == 7


def test_a_scores_file_of_another_version_is_refused(make_run, ner_eval):
    one, other = make_run(records(), answers(0.6, 1), name="one"), make_run(records(), answers(0.9, 2), name="other")
    ner_eval("score", one)
    path = one / "scores.json"
    path.write_text(path.read_text("utf-8").replace('"version": 1', '"version": 99'), "utf-8")
    message = one_line_error(ner_eval("compare", path, other))
    assert "version 99, this program reads version 1; run `ner-eval score RUN` to write it again" in message


def test_runs_of_another_gold_or_other_labels_are_refused(make_run, ner_eval):
    one = make_run(records(), answers(0.6, 1), name="one")
    message = one_line_error(ner_eval("compare", one, make_run(records(119), answers(0.6, 1, 119), name="gold")))
    assert "different gold file" in message
    labels = make_run(records(), answers(0.6, 1), (*LABELS, "movie"), name="labels")
    assert "different labels" in one_line_error(ner_eval("compare", one, labels))
    assert "name two or more" in one_line_error(ner_eval("compare", one))


def test_sentences_that_one_run_lacks_are_left_out_only_with_partial(make_run, ner_eval):
    one = make_run(records(), answers(0.6, 1), name="one")
    limited = make_run(
        records(), answers(0.6, 2, 50), name="limited", selection={"limit": 50, "sample": None, "seed": None}
    )
    message = one_line_error(ner_eval("compare", one, limited))
    assert "70 sentences are not answered in every run: limited lacks 70 of 120; predict them" in message
    assert "or compare the 50 that all have with --partial" in message
    assert "50 sentences" in ner_eval("compare", one, limited, "--partial").out
