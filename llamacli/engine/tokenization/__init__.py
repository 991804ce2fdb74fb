"""Text to tokens and back, many documents at once."""
