"""Documents: files of other formats as text, with the places in them.

They may be hostile, so a sandboxed child parses them (`backend.child`).
"""
