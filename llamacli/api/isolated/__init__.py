"""`Llama(..., isolated=True)`: the whole object lives in a child process, and its calls are forwarded as plain values."""
