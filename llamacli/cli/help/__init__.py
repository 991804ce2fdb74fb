"""`llamacli help`: guides, and the help of commands."""
