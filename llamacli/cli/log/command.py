"""`llamacli log`: list, show, search, export and remove what `run --log` has kept."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from llamacli.cli.framework.command import command, group
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.output_file import write_file
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import UsageError
from llamacli.units import counted

if TYPE_CHECKING:
    from llamacli.store.sessions.log import Log

LimitOption = Annotated[int, option("--limit", metavar="N", help="Maximum number of entries; 0 is all.", environment=False)]
EntriesArgument = Annotated[tuple[int, ...], argument(metavar="N", help="The number of an entry.")]


@command(name="list", examples=(("List the last entries.", "llamacli log list"),))
def list_(app: AppContext, *, limit: LimitOption = 20, json: JsonOption = False) -> None:
    """List the entries, the latest first.

    `run --log` keeps a prompt with its answer, and so does every run with `log = true` in the settings.
    """
    with _opened() as log:
        entries = log.entries(limit=_most(limit))
    if json:
        app.console.write(json_format.dumps([one.to_json() for one in entries], indent=2) + "\n")
        return
    from llamacli.render.log import format_entries

    if not entries:
        app.console.note("the log is empty (run --log keeps prompts and answers)")
    app.console.write(format_entries(entries, width=app.console.line_width))


@command(examples=(("Show the last answer again.", "llamacli log show"), ("Show entry 12.", "llamacli log show 12")))
def show(
    app: AppContext,
    number: Annotated[int | None, argument(metavar="N", help="The number of an entry; without it, the last one.")] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Show one entry: the conversation, the answers, the model, the settings and the speed."""
    with _opened() as log:
        entry = log.entry(number)
    if json:
        app.console.write(json_format.dumps(entry.to_json(), indent=2) + "\n")
        return
    from llamacli.render.log import format_entry

    app.console.write(format_entry(entry, width=app.console.line_width))


@command(examples=(("Find what was said about cellars.", "llamacli log search cellar"),))
def search(
    app: AppContext,
    words: Annotated[tuple[str, ...], argument(metavar="WORD", help="A word or a part of one; all must occur.")],
    *,
    limit: LimitOption = 50,
    json: JsonOption = False,
) -> None:
    """Find the entries whose prompt or answer has all of the words, ignoring case."""
    with _opened() as log:
        entries = log.search(" ".join(words), limit=_most(limit))
    if json:
        app.console.write(json_format.dumps([one.to_json() for one in entries], indent=2) + "\n")
        return
    from llamacli.render.log import format_entries

    if not entries:
        app.console.note("no entry has these words")
    app.console.write(format_entries(entries, width=app.console.line_width, word=words[0]))


@command(
    examples=(
        ("Export everything as JSON lines.", "llamacli log export > log.jsonl"),
        ("Export two entries as Markdown.", "llamacli log export 11 12 -o answers.md"),
    )
)
def export(
    app: AppContext,
    numbers: EntriesArgument = (),
    *,
    output: Annotated[
        Path | None,
        option(
            "-o", "--output", metavar="FILE", shows="stdout", environment=False,
            help="A .jsonl, .json or .md file to write.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Write entries, all without N, the oldest first: as JSON lines, or as the file's name says."""
    from llamacli.render.log import format_markdown

    suffix = ".jsonl" if output is None else output.suffix.lower()
    if suffix not in (".jsonl", ".json", ".md"):
        raise UsageError(f"{output} does not end in .jsonl, .json or .md")
    with _opened() as log:
        entries = [log.entry(number) for number in numbers] if numbers else log.entries()[::-1]
    documents = [one.to_json() for one in entries]
    if suffix == ".md":
        text = format_markdown(entries)
    elif suffix == ".json":
        text = json_format.dumps(documents, indent=2) + "\n"
    else:
        text = "".join(json_format.dumps(one) + "\n" for one in documents)
    if output is None:
        app.console.write(text)
    else:
        write_file(output, text)


@command(
    examples=(
        ("Remove entry 12.", "llamacli log rm 12"),
        ("Remove what is older than 30 days.", "llamacli log rm --older-than 30"),
    )
)
def rm(
    app: AppContext,
    numbers: EntriesArgument = (),
    *,
    all_: Annotated[bool, option("--all", help="Remove all entries.", environment=False)] = False,
    older_than: Annotated[
        float | None,
        option("--older-than", metavar="DAYS", help="Remove the entries that are older.", environment=False),
    ] = None,
) -> None:
    """Remove entries from the log, and from the file on the disk."""
    if sum((bool(numbers), all_, older_than is not None)) != 1:
        raise UsageError("rm needs the numbers of entries, or --all, or --older-than DAYS")
    if older_than is not None and older_than < 0:
        raise UsageError("--older-than must be at least 0")
    with _opened() as log:
        found = list(dict.fromkeys(numbers)) if numbers else log.numbers(older_than_days=older_than)
        log.remove(found)
    app.console.note(f"removed {counted(len(found), 'entry', 'entries')}")


def _most(limit: int) -> int | None:
    if limit < 0:
        raise UsageError("--limit must be at least 0")
    return limit or None


@contextmanager
def _opened() -> Iterator[Log]:
    from llamacli.store.sessions.log import Log

    with closing(Log()) as opened:
        yield opened


log = group(
    "log", list_, show, search, export, rm,
    help="List, search and export the log of run.",
    examples=(("Show the last answer again.", "llamacli log show"),),
)  # fmt: skip
