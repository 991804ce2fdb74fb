"""Prompt templates: files that hold a prompt with variables, and the options that go with it."""
