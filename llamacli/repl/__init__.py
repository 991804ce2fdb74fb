"""The conversation on a terminal: `llamacli chat`. The only package that imports prompt_toolkit."""
