"""The conversation: its tree, replies, storage and context window."""
