"""Output of the grammar commands: text, JSON documents and diagrams."""
