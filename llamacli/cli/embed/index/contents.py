"""`embed index rm` and `embed index info`: the contents of an index."""

from __future__ import annotations

import json
from typing import Annotated, Any

from llamacli.cli.embed.index.model import DatabaseArgument
from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import UsageError
from llamacli.render.text import escape_line
from llamacli.store.vectors.index import VectorIndex
from llamacli.units import counted

IdsArgument = Annotated[
    tuple[str, ...], argument(metavar="ID", help="The id of a text: its file, or the id of its row; or a folder.")
]
NumberOption = Annotated[
    tuple[int, ...],
    option("--number", metavar="N", help="The number of a text, `index` in --json; can be repeated.", environment=False),
]


@command(
    examples=(
        ("Remove the texts of a file.", "llamacli embed index rm notes.db a.md"),
        ("Forget a folder and its files.", "llamacli embed index rm notes.db docs/"),
        ("Remove texts by the number that a search wrote.", "llamacli embed index rm notes.db --number 7 --number 12"),
    )
)
def rm(app: AppContext, db: DatabaseArgument, ids: IdsArgument = (), *, number: NumberOption = ()) -> None:
    """Remove texts from an index.

    The id of a text is the name of its file, or the id of its row. All texts with the id are removed. A folder that was added
    is removed with its files; of a folder that stays, `update` adds a removed file again unless .gitignore names it. If one of
    them is not in the index, nothing is removed. To remove an index, remove its file.
    """
    if not ids and not number:
        raise UsageError("no text to remove", hint="name ids, or numbers with --number")
    with VectorIndex(db) as index:
        removed = index.remove(ids, number)
        app.console.note(f"{counted(removed, 'text')} removed; {index.count():,} in total")


@command(examples=(("See the contents of an index.", "llamacli embed index info notes.db"),))
def info(app: AppContext, db: DatabaseArgument, *, json_: JsonOption = False) -> None:
    """Show how many texts an index has, its folders, and the model and options of its vectors."""
    from llamacli.render.columns import format_columns

    with VectorIndex(db) as index:
        about: dict[str, Any] = dict(index.about())
        if (dims := str(about.get("dimensions"))).isdecimal():
            about["dimensions"] = int(dims)
        document = {"path": str(db), "texts": index.count(), "bytes": db.stat().st_size, "words": index.has_words, **about}
        roots: list[dict[str, Any]] = [
            {
                "path": root.path,
                "files": sum(state.is_text for state in index.files(root.path).values()),
                "chunk": root.size,
                "overlap": root.overlap,
            }
            for root in index.roots()
        ]
    if json_:
        app.console.write(json.dumps({**document, "folders": roots}, ensure_ascii=False) + "\n")
        return
    document["words"] = "yes" if document["words"] else "no"
    rows = [(name, escape_line(str(value))) for name, value in document.items() if value != ""]
    rows += [("folder", escape_line(f"{root['path']} ({counted(root['files'], 'file')})")) for root in roots]
    app.console.write(format_columns(rows, width=app.console.line_width))
