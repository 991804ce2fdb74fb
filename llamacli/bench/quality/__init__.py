"""Quality: perplexity, divergence from a reference, multiple choice and expected answers, each with its interval."""
