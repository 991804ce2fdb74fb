"""From result dataclasses to text, tables and streams. The only package that imports rich."""
