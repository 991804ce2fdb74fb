"""Saved chats."""
