"""The folder of a run: what was asked, the answers, and writing that survives a crash."""
