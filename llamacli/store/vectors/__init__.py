"""An index of texts, passages of files and their vectors: one SQLite file, searched exactly."""
