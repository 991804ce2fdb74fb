"""Answers from files: folders are read into passages, passages are found, and quoted in a prompt."""
