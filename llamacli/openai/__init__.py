"""OpenAI's JSON documents, as values in and values out."""
