"""The terminal application: loop, key bindings, completion, toolbar."""
