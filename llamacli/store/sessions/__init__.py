"""Saved chat sessions."""
