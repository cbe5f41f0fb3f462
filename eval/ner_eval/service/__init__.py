"""`ner-eval api`: a service in front of engines. Texts in, entities out, for people and programs that know no prompt."""
