"""Owners of C objects: model, context, vocabulary, state."""
