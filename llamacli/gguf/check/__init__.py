"""Checks of model files: format, metadata, vocabulary and chat templates, without loading a model."""
