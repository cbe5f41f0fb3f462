"""Scores as people read them: terminal, HTML page, Markdown, plot; and what went wrong, mention by mention."""
