from ner_data.checking.report import Report


def page(report: Report) -> str:
    return ""
