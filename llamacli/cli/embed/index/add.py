"""`embed index add` and `embed index update`: texts, and the files of folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from llamacli.cli.embed.index.model import DatabaseArgument, model_of, opened, require_model, vector_options
from llamacli.cli.embed.options import BatchOptions, EmbeddingModelOptions, SourceOptions, TextsArgument, VectorOptions
from llamacli.cli.embed.session import demo_instead, prefix_for
from llamacli.cli.framework.command import Reread, command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.index.finder import check_server
from llamacli.cli.framework.options import RemoteOptions, ResidentOptions
from llamacli.cli.framework.parameters import option
from llamacli.engine.embedding.params import Overflow
from llamacli.errors import UsageError
from llamacli.retrieval.passages import OVERLAP, SIZE
from llamacli.store.vectors.entries import Root, identity_of
from llamacli.store.vectors.index import VectorIndex

if TYPE_CHECKING:
    from llamacli.cli.embed.index.folders import Models

WatchOption = Annotated[bool, option("--watch", help="Follow changes of the files until Ctrl-C.", environment=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOptions:
    """The files of folders."""

    PANEL: ClassVar[str] = "Folders"

    chunk_rows: Annotated[
        bool,
        option(
            "--chunk-rows",
            help="Store passages of the files of -f, each with its place, and follow the files; folders always are.",
        ),
    ] = False
    watch: WatchOption = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The groups of options that settings of a model can change."""

    source: SourceOptions
    model: EmbeddingModelOptions
    vectors: VectorOptions
    context: BatchOptions
    remote: RemoteOptions

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> Self:
        """Return those of the command's arguments."""
        return cls(**{name: arguments[name] for name in cls.__dataclass_fields__})


@command(
    examples=(
        ("Add the files of a folder, in passages.", "llamacli embed index add notes.db docs/"),
        ("Add whole files.", "llamacli embed index add notes.db -f a.md -f b.md --chunk 200"),
        ("Add rows.", "llamacli embed index add faq.db --input faq.jsonl --field question"),
    ),
    common=("-m", "-f", "--input", "--field", "--chunk", "--chunk-rows", "--watch", "--pooling", "-t"),
)
def add(
    app: AppContext,
    db: DatabaseArgument,
    texts: TextsArgument = (),
    *,
    source: SourceOptions,
    folders: FolderOptions,
    model: EmbeddingModelOptions,
    vectors: VectorOptions,
    context: BatchOptions,
    resident: ResidentOptions,
    remote: RemoteOptions,
    line: Reread,
) -> None:
    """Add texts or the files of folders to an index, which is created if it does not exist.

    A TEXT that is the name of a folder stands for the files in it. They are split into passages at headings and paragraphs, of
    about 200 tokens with 30 in common (--chunk N:OVERLAP), and each passage keeps its place: lines, or a page. Files that
    .gitignore names, hidden and binary ones, links and files of more than 8 MiB are left out; documents are read as text.
    Added again, a folder is brought up to date: only what changed is read, and passages of files that went are removed.

    Texts that the index has already are not embedded again. A text with an id (a file's name, or the id of a row) replaces the
    earlier text with this id. An index holds vectors of one model and one set of options; others are refused. The model is the
    one that the index was created with, unless -m names it. With --url a server makes the vectors, then and in each search.
    """
    named = [text for text in texts if os.path.isdir(text)]  # noqa: PTH112  # a text may be too long for a path
    roots = [*named, *(map(str, source.file) if folders.chunk_rows else ())]
    for text in texts:
        if os.path.isfile(text):  # noqa: PTH113
            app.console.warn(f"{text} is the name of a file, but is added as a text (-f {text} adds the file)")
    if folders.watch and not roots:
        raise UsageError("--watch needs a folder, or files with --chunk-rows")
    if folders.chunk_rows and not roots:
        raise UsageError("--chunk-rows is for the files of -f", hint="name files with -f, or a folder")
    with VectorIndex(db, create=True) as index:
        groups = Groups(source=source, model=model, vectors=vectors, context=context, remote=remote)
        if other := model_of(index, line) or (None if remote.url else demo_instead(app, model, line)):
            groups = Groups.of(line(other))
        check_server(index, groups.remote)
        if groups.vectors.pooling == "none":
            raise UsageError("--pooling none cannot be used with an index, which holds one vector for each text")
        rest = [text for text in texts if text not in named]
        if rest or not roots or source.input is not None or (source.file and not folders.chunk_rows):
            _add_texts(app, index, rest, groups, resident, is_file_text=not folders.chunk_rows)
        if roots:
            _add_folders(app, index, roots, groups, resident, is_given=line.given("model"), watch=folders.watch)


def _add_texts(
    app: AppContext,
    index: VectorIndex,
    texts: Sequence[str],
    groups: Groups,
    resident: ResidentOptions,
    *,
    is_file_text: bool,
) -> None:
    """Embed texts, and add those that are new."""
    from llamacli.cli.embed.index.texts import add_new_texts
    from llamacli.cli.embed.input import open_texts

    source = groups.source if is_file_text else replace(groups.source, file=())
    params = groups.vectors.params(prefix_for(app, source.prefix, groups.model))
    access = source.access(offline=groups.model.offline, child=resident.child(groups.model))
    with (
        open_texts(app.console, texts, source, access) as items,
        app.interrupts.guard() as guard,
        opened(app, groups.remote, groups.model, groups.context, groups.vectors, resident) as embedder,
    ):
        guard.cancel = embedder.cancel
        require_model(index, embedder, params, groups.model.model, groups.remote)
        add_new_texts(app, embedder, index, items, params)


def _add_folders(
    app: AppContext,
    index: VectorIndex,
    names: Sequence[str],
    groups: Groups,
    resident: ResidentOptions,
    *,
    is_given: bool,
    watch: bool,
) -> None:
    """Bring the files of folders up to date in the index."""
    from llamacli.cli.embed.index.folders import update_roots

    known = {root.path: root for root in index.roots()}
    roots: list[Root] = []
    for name in names:
        root = _root(name, known, groups.vectors)
        _refuse_overlap(root, [one for one in [*known, *(other.path for other in roots)] if one != root.path], index)
        if root not in roots:
            roots.append(root)
    update_roots(app, index, roots, _models(app, groups, resident, is_given=is_given), watch=watch)


def _root(name: str, known: Mapping[str, Root], vectors: VectorOptions) -> Root:
    """Return the root of a name. Without --chunk it is split as before."""
    path = str(Path(name).resolve())
    if identity_of(path) != path:
        raise UsageError(f"{identity_of(path)}: the name is not UTF-8 text")
    before = known.get(path)
    size, overlap = vectors.chunk or ((before.size, before.overlap) if before is not None else (SIZE, OVERLAP))
    return Root(path, size, overlap)


def _refuse_overlap(root: Root, others: Sequence[str], index: VectorIndex) -> None:
    """Raise UsageError if a root is in another one or around it: its files would belong to both."""
    for other in others:
        if Path(root.path).is_relative_to(other):
            raise UsageError(f"{root.path} is in {other}, which the index follows already")
        if Path(other).is_relative_to(root.path):
            hint = f"llamacli embed index rm {index.path} {other} forgets it"
            raise UsageError(f"{root.path} contains {other}, which the index follows already", hint=hint)


def _models(app: AppContext, groups: Groups, resident: ResidentOptions, *, is_given: bool) -> Models:
    from llamacli.cli.embed.index.folders import Models

    params = groups.vectors.params(prefix_for(app, groups.source.prefix, groups.model))
    return Models(
        opened=lambda: opened(app, groups.remote, groups.model, groups.context, groups.vectors, resident),
        params=replace(params, chunk=None, overlap=0, overflow=_overflow(groups.remote, truncates=groups.vectors.truncate)),
        reference=groups.model.model,
        remote=groups.remote,
        is_given=is_given,
    )


def _overflow(remote: RemoteOptions, *, truncates: bool = False) -> Overflow:
    """Return what happens to a passage that is longer than estimated: it has the mean of parts, but a server makes no parts."""
    return "truncate" if truncates else "error" if remote.url else "chunk"


@command(
    examples=(
        ("Bring the files of an index up to date.", "llamacli embed index update notes.db"),
        ("Do so whenever a file changes.", "llamacli embed index update notes.db --watch"),
    ),
    common=("--watch", "-t", "--offline", "--url"),
)
def update(
    app: AppContext,
    db: DatabaseArgument,
    *,
    watch: WatchOption = False,
    model: EmbeddingModelOptions,
    context: BatchOptions,
    resident: ResidentOptions,
    remote: RemoteOptions,
    line: Reread,
) -> None:
    """Bring the files of an index up to date.

    New and changed files of its folders are read, and the passages of those that went are removed. The model is the one of the
    index, and is not loaded if nothing changed.
    """
    from llamacli.cli.embed.index.folders import Models, update_roots

    with VectorIndex(db) as index:
        roots = index.roots()
        if not roots:
            raise UsageError(f"{db} follows no folder", hint=f"llamacli embed index add {db} FOLDER adds one")
        if other := model_of(index, line):
            options = line(other)
            model, context, remote = (options[name] for name in ("model", "context", "remote"))
        check_server(index, remote)
        prefix = index.about().get("prefix", "")
        vectors = vector_options(index, remote) if index.count() else VectorOptions()
        models = Models(
            opened=lambda: opened(app, remote, model, context, vectors, resident),
            params=replace(vectors.params(prefix), overflow=_overflow(remote)),
            reference=model.model,
            remote=remote,
            is_given=line.given("model"),
        )
        update_roots(app, index, roots, models, watch=watch)
