"""A report as Markdown, for a pull request or an issue."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

# What Markdown or HTML could take for markup. Line ends and invisible controls would break a table's row.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&$])")
_CONTROL = re.compile("[\x00-\x1f\x7f\u0085\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SUSPECTS = 20


def escape(text: str) -> str:
    """Text of strangers as Markdown that shows it literally, on one line."""
    visible = _CONTROL.sub(lambda match: f"U+{ord(match[0]):04X} ", text)
    return _MARKUP.sub(r"\\\1", visible)


def render(data: dict[str, Any]) -> str:
    """Lay out a report's data."""
    run, text = data["run"], data["protocols"]["text"]["lenient"]
    lines = [f"## {escape(run['name'])}: {escape(run['model'])} on {escape(run['corpus'])}/{escape(run['split'])}", ""]
    lines += [_headline(data), ""]
    rows = [(escape(label), *_prf(text["labels"][label])) for label, _ in data["labels"]]
    rows += [("**Macro Avg.**", *_prf(text["macro"])), ("**Micro Avg.**", *_prf(text["micro"]))]
    lines += ["Protocol: text (the set of (label, surface) of each sentence), lenient reading.", ""]
    lines += _table(["Label", "Precision", "Recall", "F1"], rows)
    lines += ["", "<details><summary>Errors, answers, other protocols</summary>", ""]
    lines += [*_table(["Class of error", "Mentions"], data["classes"].items()), ""]
    answers, mentions = data["answers"], data["mentions"]
    counts = {**answers, **{f"mentions {key}": value for key, value in mentions.items()}}
    lines += [*_table(["Count", ""], ((escape(key), value) for key, value in counts.items())), ""]
    modes = ((mode, *_prf(counts)) for mode, counts in data["modes"].items())
    lines += _table(["nervaluate mode", "Precision", "Recall", "F1"], modes)
    lines += ["", "</details>"]
    if data["suspects"]:
        lines += ["", f"<details><summary>Likely annotation errors ({len(data['suspects'])})</summary>", ""]
        rows = [
            (escape(s["surface"]), escape(s["gold"] or "–"), escape(s["model"] or "–"), s["count"])
            for s in data["suspects"][:_SUSPECTS]
        ]
        lines += [*_table(["Surface", "Gold", "Model", "Places"], rows), "", "</details>"]
    if data.get("comparison"):
        lines += ["", *_comparison(data)]
    return "\n".join(lines) + "\n"


def _headline(data: dict[str, Any]) -> str:
    text, span = data["protocols"]["text"], data["protocols"]["span"]["lenient"]
    interval = (text["lenient"]["intervals"] or {}).get("micro")
    spread = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
    missing = data["answers"]["missing"]
    return (
        f"**Micro F1 {text['lenient']['micro']['f1']:.4f}**{spread} over {data['sentences']} sentences; "
        f"strict reading {text['strict']['micro']['f1']:.4f}; "
        f"official CLUENER (macro) {text['lenient']['macro']['f1']:.4f}; span micro {span['micro']['f1']:.4f}."
        + (f" **Partial: {missing} records have no answer.**" if missing else "")
    )


def _comparison(data: dict[str, Any]) -> list[str]:
    other = data["comparison"]
    difference = other["difference"]
    lines = [
        f"### Against {escape(other['name'])}",
        "",
        f"Protocol text, lenient reading: micro F1 {other['f1'][0]:.4f} → {other['f1'][1]:.4f}: "
        f"{difference['f1']:+.4f} (95 % interval {difference['low']:+.4f} to {difference['high']:+.4f}, "
        f"p = {difference['p']:.3f}, paired bootstrap over {other['sentences']} sentences); "
        f"{other['fixed']['count']} sentences right only in {escape(other['name'])}, "
        f"{other['broken']['count']} right only in {escape(data['run']['name'])}.",
        "",
    ]
    header = ["Label", escape(data["run"]["name"]), escape(other["name"]), "Difference"]
    rows = [(escape(label), f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}") for label, a, b in other["labels"]]
    return lines + _table(header, rows)


def _prf(value: dict[str, float]) -> tuple[str, str, str]:
    return f"{value['precision']:.4f}", f"{value['recall']:.4f}", f"{value['f1']:.4f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [" | ".join(header), "|".join(["---", *["---:"] * (len(header) - 1)])]
    lines += [" | ".join(map(str, row)) for row in rows]
    return [f"| {line} |" for line in lines]
