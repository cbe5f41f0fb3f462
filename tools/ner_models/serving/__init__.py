"""Serving: the vLLM command and process, adapters, and what lets vLLM serve soft prompts."""
