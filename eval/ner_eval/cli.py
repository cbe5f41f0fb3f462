"""``ner-eval``: a served model's answers, scored."""

from ner_common.commands import program

COMMANDS = {
    "predict": ("ner_eval.predict", "ask the server for every record of a gold file"),
    "extract": ("ner_eval.extract", "entities of your own texts, with offsets"),
    "score": ("ner_eval.score", "score stored answers against gold, print the label table"),
    "publish": ("ner_eval.publish", "keep a measured result beside its recipe, write the table of recipes/README.md"),
    "compare": ("ner_eval.compare", "put runs side by side, with the significance of their differences"),
    "report": ("ner_eval.report", "write report.html, report.md and a plot of a run"),
}

entry_point = program("ner-eval", "Ask a served model for entities and score its answers.", COMMANDS)
