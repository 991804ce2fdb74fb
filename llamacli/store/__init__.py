"""Model files and where they come from, settings and profiles, chat sessions, benchmark history."""
