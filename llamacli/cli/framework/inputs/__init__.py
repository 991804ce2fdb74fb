"""What a command reads: files, grammars, standard input."""
