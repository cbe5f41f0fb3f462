"""A report as Markdown, for a pull request or an issue, in the words of the page."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ner_eval.reporting.wording import Say, fact_value, four, kind_name, wording

# Characters that Markdown or HTML could treat as markup. Line breaks and invisible controls would break a table row.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&$])")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SUSPECTS = 20
_REFUSED = 20


def escape(text: str) -> str:
    """Untrusted text as Markdown that shows it literally, on one line."""
    visible = _CONTROL.sub(lambda match: f"U+{ord(match[0]):04X} ", text)
    return _MARKUP.sub(r"\\\1", visible)


def render(data: dict[str, Any], language: str) -> str:
    """Lay out a report's data in a language (zh or en)."""
    say = wording(language)
    run, (leading, *others) = data["run"], data["headlines"]
    names = {label: name if language == "zh" else label for label, name in data["labels"]}
    counted = data["protocols"][leading["counted_as"]]
    lines = [f"## {escape(run['name'])}: {escape(say('markdown_title', **run))}", "", _headline(data, say), ""]
    lines += [f"- {_quiet(name, f1)}" for name, f1 in _other_figures(leading, others, language, say)]
    lines += [
        "",
        escape(_reading(leading, "lenient", language, say)),
        "",
        *_label_table(counted["lenient"], names, say),
    ]
    for other in others:
        if other["counted_as"] != leading["counted_as"]:
            table = _label_table(data["protocols"][other["counted_as"]]["lenient"], names, say)
            lines += _folded(_reading(other, "lenient", language, say), table)
    lines += _folded(say("classes"), _classes(data, say))
    lines += _folded(say("reading_of", title=data["modes_title"][language], reading=say("lenient")), _modes(data, say))
    lines += _folded(say("answers"), _answers(data, say))
    if data["answers"]["refused"]:
        lines += _folded(say("refused"), _refused(data["examples"]))
    if data.get("confidence"):
        lines += _folded(say("confidence"), _confidence(data["confidence"], say))
    if data["suspects"]:
        lines += _folded(f"{say('suspects')} ({len(data['suspects'])})", _suspects(data["suspects"], names, say))
    if data.get("comparison"):
        lines += ["", *_comparison(data, names, language, say)]
    lines += _folded(say("details"), _facts(run["facts"], say))
    return "\n".join(lines) + "\n"


def _headline(data: dict[str, Any], say: Say) -> str:
    leading, answers = data["headlines"][0], data["answers"]
    interval = leading["interval"]
    spread = say("interval_95", low=four(interval[0]), high=four(interval[1])) if interval else ""
    parts = [
        f"**{_average(leading, say)} {four(leading['f1']['lenient'])}**{spread}",
        say("over", n=data["sentences"]),
    ]
    if answers["missing"]:
        parts.append(f"**{say('partial', n=answers['missing'])}**")
    if data["answers"]["refused"]:
        parts.append(f"**{say('refused_warning', n=data['answers']['refused'])}**")
    if data["run"]["selection"]:
        parts.append(f"**{say('selection', what=fact_value(data['run']['selection'], say))}**")
    return " · ".join(parts)


def _other_figures(
    leading: dict[str, Any], others: list[dict[str, Any]], language: str, say: Say
) -> list[tuple[str, float]]:
    strict = say("reading_of", title=leading["name"], reading=say("strict"))
    figures = [(f"{_average(leading, say)}, {strict}", leading["f1"]["strict"])]
    return figures + [(f"{_average(o, say)}, {o['title'][language]}", o["f1"]["lenient"]) for o in others]


def _quiet(name: str, f1: float) -> str:
    return f"{four(f1)} {escape(name)}"


def _average(headline: dict[str, Any], say: Say) -> str:
    return say(f"{headline['average']}_f1")


def _reading(headline: dict[str, Any], reading: str, language: str, say: Say) -> str:
    return say("reading_of", title=headline["title"][language], reading=say(reading))


def _label_table(scores: dict[str, Any], names: dict[str, str], say: Say) -> list[str]:
    labels = scores["labels"]
    rows: list[Sequence[Any]] = [
        (escape(name), *_prf(labels[label]), *_counts(labels[label])) for label, name in names.items()
    ]
    if labels[""]["fp"]:
        rows.append((escape(say("other_label")), "–", "–", "–", *_counts(labels[""])))
    rows.append(("**Macro Avg.**", *_prf(scores["macro"]), "", ""))
    rows.append(("**Micro Avg.**", *_prf(scores["micro"]), *_counts(scores["micro"])))
    header = [*(say(key) for key in ("label", "precision", "recall")), "F1", say("gold"), say("predicted")]
    lines = [*_table(header, rows), "", *_sums(scores["sums"], say)]
    if empty := [escape(name) for label, name in names.items() if labels[label]["f1"] is None]:
        lines += [say("undefined", labels=", ".join(empty)), ""]
    return lines


def _classes(data: dict[str, Any], say: Say) -> list[str]:
    rows = [(kind_name(kind, say), number) for kind, number in data["classes"].items()]
    return [*_table([say("class"), say("number")], rows), "", *_sums(data["sums"]["classes"], say)]


def _confidence(value: dict[str, Any], say: Say) -> list[str]:
    known = say("calibrated", **value["calibrated"]) if value["calibrated"] else say("not_calibrated")
    if value["unscored"]:
        known += f" **{say('unscored', n=value['unscored'])}**"
    before = "" if value["error_raw"] is None else say("error_before", error=four(value["error_raw"]))
    error, area = say("calibration_error", error=four(value["error"])), say("curve_area", area=four(value["area"]))
    figures = f"{error}{before}{area}"
    cut = value["cut"]
    rows = [(say("all"), value["all"]["entities"], *_prf(value["all"]))]
    if cut:
        rows.append((say("kept"), cut["kept"]["entities"], *_prf(cut["kept"])))
    lines = [known, "", figures, "", *_table(["", say("number"), say("precision"), say("recall"), "F1"], rows)]
    if cut:
        lost = {"right": cut["lost_right"], "wrong": cut["lost_wrong"]}
        lines += ["", say("kept_from", threshold=four(cut["threshold"]), **lost)]
    return lines


def _modes(data: dict[str, Any], say: Say) -> list[str]:
    outcomes = {"correct": "correct", "incorrect": "incorrect", "partial": "partial_match", "missed": "missed",
                "spurious": "spurious"}  # fmt: skip
    header = [say("mode"), *map(say, outcomes.values()), say("precision"), say("recall"), "F1"]
    rows = [(mode, *(counts[name] for name in outcomes), *_prf(counts)) for mode, counts in data["modes"].items()]
    return [*_table(header, rows), "", *_sums(data["sums"]["modes"], say)]


def _answers(data: dict[str, Any], say: Say) -> list[str]:
    lines: list[str] = []
    for part in ("answers", "mentions"):
        header = [say("mentions") if part == "mentions" else say("answers"), say("count")]
        lines += [*_table(header, [(say(key), value) for key, value in data[part].items()]), ""]
    return lines + _sums(data["sums"]["answers"], say)


def _refused(examples: list[dict[str, Any]]) -> list[str]:
    """The records that the server refused, with its words."""
    refused = [example for example in examples if "refused" in example.get("problems", ())]
    lines = [f"- {escape(example['id'])}: {escape(example['answer'])}" for example in refused[:_REFUSED]]
    return lines + (["- …"] if len(refused) > _REFUSED else [])


def _suspects(suspects: list[dict[str, Any]], names: dict[str, str], say: Say) -> list[str]:
    def side(label: str) -> str:
        return escape(names.get(label, label)) if label else say("nothing")

    rows = [(escape(s["surface"]), side(s["gold"]), side(s["model"]), s["count"]) for s in suspects[:_SUSPECTS]]
    return _table([say(key) for key in ("surface", "gold_says", "model_says", "places")], rows)


def _comparison(data: dict[str, Any], names: dict[str, str], language: str, say: Say) -> list[str]:
    other = data["comparison"]
    difference = other["difference"]
    low, high = f"{difference['low']:+.4f}", f"{difference['high']:+.4f}"
    change = (
        say("change", one=four(other["f1"][0]), two=four(other["f1"][1]))
        + f"{difference['f1']:+.4f}"
        + say("spread", low=low, high=high, p=f"{difference['p']:.3f}")
        + say("significant" if difference["p"] < 0.05 else "not_significant")
    )
    note = say("comparison_note", n=other["sentences"], protocol=data["headlines"][0]["title"][language])
    lines = [f"### {escape(say('comparison', name=other['name']))}", "", escape(change), "", escape(note), ""]
    if other["refused"]:
        lines += [escape(say("refused_other", n=other["refused"], name=other["name"])), ""]
    header = [say("label"), escape(data["run"]["name"]), escape(other["name"]), say("difference")]
    rows = [
        (escape(names[label]), four(a), four(b), "–" if a is None or b is None else f"{b - a:+.4f}")
        for label, a, b in other["labels"]
    ]
    return [*lines, *_table(header, rows), "", *_sums(other["sums"], say)]


def _facts(groups: list[dict[str, Any]], say: Say) -> list[str]:
    rows: list[Sequence[Any]] = []
    for group in groups:
        rows.append((f"**{say(group['title'])}**", ""))
        rows += [(say(key), escape(fact_value(value, say))) for key, value in group["rows"]]
    return ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows)]


def _prf(value: dict[str, float | None]) -> tuple[str, str, str]:
    return four(value["precision"]), four(value["recall"]), four(value["f1"])


def _counts(value: dict[str, int]) -> tuple[int, int]:
    return value["tp"] + value["fn"], value["tp"] + value["fp"]


def _sums(sums: list[list[Any]], say: Say) -> list[str]:
    lines = [f"- {escape(say(key, **values))}" for key, values in sums]
    return [*lines, ""]


def _folded(summary: str, lines: list[str]) -> list[str]:
    # Inside an HTML block, Markdown's backslashes would be visible.
    return ["", f"<details><summary>{html.escape(summary)}</summary>", "", *lines, "", "</details>"]


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [" | ".join(header), "|".join(["---", *["---:"] * (len(header) - 1)])]
    lines += [" | ".join(map(str, row)) for row in rows]
    return [f"| {line} |" for line in lines]
