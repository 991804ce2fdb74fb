"""The command `llamacli info`: inspect a model file without loading it."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ContextOptions, DraftModelOptions, ModelOptions
from llamacli.cli.framework.options.projector import MmprojOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.info.reports import (
    show_check,
    show_diff,
    show_fit,
    show_system,
    show_values,
    with_companions,
    write_document,
)
from llamacli.cli.info.sources import Opened, open_files
from llamacli.errors import TemplateError, UsageError
from llamacli.gguf.analysis.summary import chat_templates, summarize
from llamacli.gguf.check.eagle import is_eagle
from llamacli.gguf.check.loadable import require_complete
from llamacli.gguf.header import Lazy
from llamacli.gguf.model import ModelFiles
from llamacli.render.info.numbers import shortest
from llamacli.store.models import heads, projectors

ModelArgument = Annotated[
    str | None,
    argument(
        metavar="MODEL",
        help="Model, in place of -m. Of hf: and https:// models, only the header is fetched.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowOptions:
    """Views in addition to the page or in place of it."""

    PANEL: ClassVar[str] = "What to show"

    metadata: Annotated[bool, option("--metadata", help="All keys and values.")] = False
    tensors: Annotated[bool, option("--tensors", help="All tensors, and sums by type and by layer.")] = False
    key: Annotated[str | None, option("--key", metavar="KEY", help="Value of one key, raw; one line per array element.")] = None
    template: Annotated[bool, option("--template", help="The chat template, raw.")] = False
    hash: Annotated[bool, option("--hash", help="SHA-256 of each tensor and of each file.")] = False
    diff: Annotated[
        str | None,
        option("--diff", metavar="OTHER", help="Differences from another model; exit status 8 if any."),
    ] = None
    values: Annotated[
        bool,
        option(
            "--values", needs=("diff",), help="With --diff, how far the weights are apart: RMS, largest difference and cosine."
        ),
    ] = False
    check: Annotated[bool, option("--check", help="Errors and unsafe content; exit status 3 on errors.")] = False
    fit: Annotated[
        bool, option("--fit", help="Memory needed with -c, -ngl, -ctk, -ctv, -b and -np; exit status 4 if it does not fit.")
    ] = False
    parallel: Annotated[int, option("-np", "--parallel", needs=("fit",), help="Number of sequences for --fit.")] = 1
    mmproj: MmprojOption = None
    system: Annotated[bool, option("--system", help="Hardware and build of llamacli, for bug reports.")] = False
    json: Annotated[bool, option("--json", help="Print one JSON document.")] = False
    full: Annotated[
        bool, option("--full", needs=("json",), help="With --json, print long arrays in full instead of their lengths.")
    ] = False

    def __post_init__(self) -> None:
        views = [("--metadata", self.metadata), ("--tensors", self.tensors)]
        modes = [
            ("--key", self.key is not None),
            ("--template", self.template),
            ("--hash", self.hash),
            ("--diff", self.diff is not None),
            ("--check", self.check),
            ("--fit", self.fit),
            ("--system", self.system),
        ]
        given = [name for name, on in modes if on]
        if len(given) > 1 or (given and any(on for _, on in views)):
            given += [name for name, on in views if on]
            raise UsageError(f"{given[0]} cannot be used with {given[1]}")


@command(
    examples=(
        ("Show what a model is.", "llamacli info model.gguf"),
        ("Find out before a download whether a model fits.", "llamacli info hf:user/repo:Q4_K_M --fit -c 8192"),
        ("Check a file for errors.", "llamacli info model.gguf --check"),
        ("Save the chat template.", "llamacli info model.gguf --template > template.jinja"),
        ("Compare two quantizations.", "llamacli info old.gguf --diff new.gguf"),
        ("Show how far their weights are apart.", "llamacli info f16.gguf --diff q4_k_m.gguf --values"),
    ),
    common=("--metadata", "--tensors", "--template", "--fit", "-c", "--check", "--hash", "--diff", "--system", "--json"),
)
def info(
    app: AppContext,
    name: ModelArgument = None,
    *,
    show: ShowOptions,
    model: ModelOptions,
    draft: DraftModelOptions,
    context: ContextOptions,
) -> None:
    """Inspect a model file.

    Reads only the header, in milliseconds. --hash reads the whole file, --diff reads the tensors that both models have, and
    --fit runs llama.cpp's allocator without loading the weights; a projector for images beside the model, the draft model of
    -md and the layers of --mtp count, too.
    """
    if show.system:
        return show_system(app, model.child(), as_json=show.json)
    with open_files(app, name or model.model, offline=model.offline) as opened:
        if show.diff is not None:
            with open_files(app, show.diff, offline=model.offline) as other:
                if show.values:
                    return show_values(app, opened, other, model.child(), as_json=show.json)
                return show_diff(app, opened, other, as_json=show.json)
        if show.check:
            return show_check(app, opened, model.child(), as_json=show.json)
        require_complete(opened.files)
        if show.fit:
            params = context.params(n_seq_max=show.parallel)
            loaded = with_companions(app, opened, model, show.mmproj, draft)
            return show_fit(app, opened, loaded, params, model.child(), as_json=show.json)
        if show.key is not None:
            return _key(app, opened, show.key, show)
        if show.template:
            return _template(app, opened, show)
        return _hash(app, opened, show) if show.hash else _page(app, opened, show)


info.loads_with = "fit"


def _page(app: AppContext, opened: Opened, show: ShowOptions) -> None:
    """Show the page, the requested lists, or the JSON document."""
    from llamacli.render.info import page

    files, header = opened.files, opened.files.header
    summary = summarize(files, opened.sources[0])
    if opened.path is not None and (models := _models_beside(opened.path, files)):
        summary = replace(summary, details=(*summary.details, ("models here", ", ".join(path.name for path in models))))
    if show.json:
        from llamacli.render.info.json import model_document

        return write_document(
            app, model_document(summary, opened.location, header, files.tensors, opened.elements, full=show.full)
        )
    bold, width = _bold(app), app.console.line_width
    if show.metadata:
        previews = {key: opened.preview(entry.value) for key, entry in header.metadata.items()}
        app.console.show(page.format_metadata(header.metadata.values(), previews, width=width))
    if show.tensors:
        app.console.write(("\n" if show.metadata else "") + page.format_tensors(files.tensors, bold=bold, width=width))
    if not show.metadata and not show.tensors:
        app.console.write(page.format_summary(summary, opened.location, bold=bold, width=width))
    return None


def _models_beside(path: Path, files: ModelFiles) -> list[Path]:
    """Return the models in the folder of a projector or a head that it fits."""
    return heads.models_beside(path) if is_eagle(files.header) else projectors.models_beside(path)


def _key(app: AppContext, opened: Opened, key: str, show: ShowOptions) -> None:
    """Show one value, raw. A long array is never in memory as a whole."""
    from llamacli.render.info.json import entry_value

    entry = opened.files.header.metadata.get(key)
    if entry is None:
        near = difflib.get_close_matches(key, opened.files.header.metadata, n=1)
        raise UsageError(f"unknown key {key}", hint=f"did you mean {near[0]}?" if near else "list the keys with --metadata")
    if show.json:
        write_document(app, {key: entry_value(entry, opened.elements, full=True)})
        return
    if not isinstance(entry.value, Lazy):
        app.console.show(f"{raw(entry.value)}\n")
        return
    separator = "\n" if entry.value.element is not None else ""
    lines = (raw(element) + separator for element in opened.elements(entry.value))
    while piece := "".join(itertools.islice(lines, 4096)):
        app.console.show(piece)
    if not separator:
        app.console.show("\n")


def raw(value: Any) -> str:
    """Return a value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(shortest(value)) if isinstance(value, float) else str(value)


def _template(app: AppContext, opened: Opened, show: ShowOptions) -> None:
    templates = dict(chat_templates(opened.files.header))
    if "default" not in templates:
        hint = f"use --key tokenizer.chat_template.{', '.join(templates)}" if templates else "it is a base model"
        raise TemplateError(f"{opened.files.header.name} has no chat template", hint=hint)
    if show.json:
        write_document(app, {"chat_template": templates["default"]})
    else:
        app.console.show(templates["default"] + ("" if templates["default"].endswith("\n") else "\n"))


def _hash(app: AppContext, opened: Opened, show: ShowOptions) -> None:
    from llamacli.gguf.analysis.hashes import hash_model
    from llamacli.render.info.json import hashes_document
    from llamacli.render.info.reports import format_hashes

    opened.require_local("--hash")
    with app.progress() as bar:
        hashes = hash_model(opened.files, opened.sources, lambda done, total: bar.update("hashing", done, total, unit="B"))
    if show.json:
        write_document(app, hashes_document(hashes))
    else:
        app.console.show(format_hashes(hashes))


def _bold(app: AppContext) -> Callable[[str], str]:
    return lambda text: app.console.styled(text, "bold", stdout=True)
