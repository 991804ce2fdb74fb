"""Files that outlive the process: models and their sources, settings, chat sessions, vector indexes, benchmark history."""
