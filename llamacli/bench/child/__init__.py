"""The child process that measures: the parent never loads the native library, and outlives whatever happens to it.

`contract` is what both sides know, `service` is the child's work. `process` starts a child and replaces one that has died,
`measurement` and `trials` are what the parent sees.
"""
