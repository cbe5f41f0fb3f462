"""Asking a served model: the client, one request, the model and its prompt, documents, batch files."""
