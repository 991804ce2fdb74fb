"""`llamacli embed index`: texts, passages of files and their vectors in one file, searched by meaning and by words."""
