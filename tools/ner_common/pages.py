"""What our HTML pages share: the style sheet, a script that makes elements, and filling a template."""

from importlib.resources import files


def style() -> str:
    """The style sheet, for light and dark screens, phones and paper."""
    return (files("ner_common") / "page/style.css").read_text("utf-8")


def nodes() -> str:
    """The script that makes elements, and shows untrusted text as text."""
    return (files("ner_common") / "page/nodes.js").read_text("utf-8")


def fill(template: str, values: dict[str, str]) -> str:
    """Replace each ``{{name}}`` once, in one pass: nothing inside a value is treated as a placeholder."""
    pieces = template.split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [values[name], rest]
    return "".join(filled)
