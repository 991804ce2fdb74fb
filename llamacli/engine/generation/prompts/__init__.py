"""Prompts on their way into the cache: what is evaluated already, pictures among the tokens, and scores."""
