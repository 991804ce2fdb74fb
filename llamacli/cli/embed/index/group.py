"""The group `llamacli embed index`."""

from __future__ import annotations

from llamacli.cli.embed.index.add import add, update
from llamacli.cli.embed.index.contents import info, rm
from llamacli.cli.embed.index.evaluate import eval_
from llamacli.cli.embed.index.search import search
from llamacli.cli.framework.command import group

index = group(
    "index",
    add,
    update,
    search,
    eval_,
    rm,
    info,
    help="Keep texts, files and their vectors in one file, and search it by meaning and by words.",
    examples=(
        ("Make an index of the files of a folder.", "llamacli embed index add notes.db docs/"),
        ("Search it.", 'llamacli embed index search notes.db "What about the garden?"'),
        ("Ask a model about it.", 'llamacli run --index notes.db "What about the garden?"'),
    ),
)
