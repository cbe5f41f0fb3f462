"""Corpora for named-entity recognition: raw files to gold records to alpaca files and prompt specs."""
