"""`ner-eval api`: a service in front of engines. Texts in, entities out, for those who know no prompt."""
