"""report.html: the page's template filled with the data, as one self-contained file."""

import json
import re
from html import escape
from importlib.resources import files
from typing import Any

from ner_common.errors import printable
from ner_common.pages import fill, nodes, style

# In order of dependency.
# Markup, line ends of JavaScript, and lone surrogates, which UTF-8 cannot encode.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
SCRIPTS = ("text.js", "contents.js", "figures.js", "errors.js", "examples.js", "confidence.js", "run.js", "main.js")


def render(data: dict[str, Any], language: str) -> str:
    """Fill the template of ``page/`` with a report's data; the page opens in ``language`` (zh or en)."""
    folder = files("ner_eval.reporting") / "page"
    parts = {name: (folder / name).read_text("utf-8") for name in ("page.html", "strings.json")}
    script = "\n".join([nodes(), *((folder / name).read_text("utf-8") for name in SCRIPTS)])
    leading = data["headlines"][0]
    return fill(
        parts["page.html"],
        {
            "language": {"zh": "zh-CN", "en": "en"}[language],
            "title": escape(printable(f"{data['run']['name']} · {data['run']['corpus']}/{data['run']['split']}")),
            "headline": f"{leading['average'].capitalize()} F1 {leading['f1']['lenient']:.4f} ({leading['name']})",
            "style": style(),
            "script": script,
            "strings": embed(json.loads(parts["strings.json"])),
            "data": embed(data),
        },
    )


def embed(value: Any) -> str:
    """JSON for the inside of a script element: nothing in it can end the element or start a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
