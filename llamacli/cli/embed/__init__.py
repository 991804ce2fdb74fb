"""`llamacli embed`: vectors of texts, comparison and search, and indexes."""
