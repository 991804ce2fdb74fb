"""Defaults of options from the settings and from prompt templates."""
