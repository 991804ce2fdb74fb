"""A supervised child process that computes: its protocol, its supervision in the parent, and its work.

`launch` starts it, `process` supervises it and makes calls, `work` is its main program; `wire` is the protocol.
`engine`, `embedder` … are what the parent sees, `services` what the child does for them. The parent never loads the native
library: whatever happens to it there is an `EngineDiedError` here.
"""
