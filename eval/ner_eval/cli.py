"""``ner-eval``: ask a served model, score its answers."""

from ner_common.commands import program

COMMANDS = {
    "predict": ("ner_eval.predict", "ask the server for every record of a gold file"),
    "extract": ("ner_eval.extract", "find the entities of your own texts, with offsets"),
    "api": ("ner_eval.api", "answer other programs' requests, and show a page to try the model"),
    "score": ("ner_eval.score", "score stored answers against gold, print the label table"),
    "export": ("ner_eval.export", "write a run's predictions in any format that can hold them"),
    "track": ("ner_eval.track", "add a run's scores to where its training was tracked (in .venv-train)"),
    "select": ("ner_eval.select", "compare the checkpoints of a training on its held-out records, publish the best"),
    "calibrate": ("ner_eval.calibrate", "learn from an adapter's held-out records what its scores are worth"),
    "publish": ("ner_eval.publish", "store a result with its recipe and write the tables of all results"),
    "compare": ("ner_eval.compare", "compare runs, with the significance of their differences"),
    "report": ("ner_eval.report", "write a run's report.html, report.md and plot"),
}

entry_point = program("ner-eval", "Ask a served model for entities and score its answers.", COMMANDS)
