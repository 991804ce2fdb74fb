"""`llamacli tokenize`: tokens of texts, counted, shown, compared and turned back into text."""
