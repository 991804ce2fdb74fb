"""Reports of the command `llamacli info`: differences, checks, memory and the system."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import DraftModelOptions, ModelOptions
from llamacli.cli.info.sources import Opened
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.errors import CapacityError, LibraryError, LlamacliError, MemoryFullError, ModelFileError, UsageError
from llamacli.gguf.analysis.summary import chat_templates
from llamacli.gguf.check.drafts import check_drafts
from llamacli.gguf.check.finding import Finding
from llamacli.gguf.check.loadable import require_complete
from llamacli.gguf.check.template import is_go_template
from llamacli.gguf.header import Header
from llamacli.store.files import paths
from llamacli.units import format_bytes
from llamacli.version import VERSION

if TYPE_CHECKING:
    from llamacli.backend.child.params import ChildParams
    from llamacli.cli.framework.console import Style

DIFFERENT = 8
"""Exit status of `--diff` when the models differ."""

WRITE_SIZE = 1 << 16
"""Number of characters per write of a document."""


def show_diff(app: AppContext, old: Opened, new: Opened, *, as_json: bool) -> None:
    """Show the differences between two models, of the data only if both are local. Exits with status 8 if they differ."""
    from llamacli.gguf.analysis.diff import compare, compare_data
    from llamacli.render.info.json import differences_document
    from llamacli.render.info.reports import format_differences

    differences = compare(old.files, new.files, old.sources[0], new.sources[0])
    if old.is_local and new.is_local:
        for opened in (old, new):
            require_complete(opened.files)
        with app.progress() as bar:
            differences += compare_data(
                old.files,
                new.files,
                old.sources,
                new.sources,
                lambda done, total: bar.update("comparing", done, total, unit="B"),
            )
    elif not differences:
        app.console.note("only the headers were compared: the data of models on a server is not read")
    if as_json:
        write_document(app, differences_document(old.location, new.location, differences))
    else:
        app.console.write(format_differences(differences, width=app.console.width, paint=paint(app)))
    if differences:
        raise typer.Exit(DIFFERENT)


def show_values(app: AppContext, old: Opened, new: Opened, child: ChildParams, *, as_json: bool) -> None:
    """Show how far the weights of two models are apart. Exits with status 8 if any differ."""
    from llamacli.backend.child.inspection import Inspector
    from llamacli.engine.quantization.types import TensorDifference
    from llamacli.render.info.weights import format_weights, weights_document

    for opened in (old, new):
        opened.require_local("--values")
        require_complete(opened.files)
    found: list[TensorDifference] = []
    paths = [Path(opened.files.locations[0]).absolute() for opened in (old, new)]
    with Inspector(child, paths) as inspector, app.progress() as bar:
        for event in inspector.compare_weights(*paths):
            if isinstance(event, TensorDifference):
                found.append(event)
            else:
                bar.update("comparing", event.done, event.total)
    if not found:
        raise UsageError("the models have no tensor of the same name and shape")
    if as_json:
        write_document(app, weights_document(old.location, new.location, found))
    else:
        app.console.write(format_weights(found, width=app.console.width))
    if any(one.rms or one.old_type != one.new_type or one.not_finite for one in found):
        raise typer.Exit(DIFFERENT)


def show_check(app: AppContext, opened: Opened, child: ChildParams, *, as_json: bool) -> None:
    """Show the findings about a file.

    Raises:
        ModelFileError: if one of them is an error.
    """
    from llamacli.gguf.check.model import check_model
    from llamacli.render.info.json import findings_document
    from llamacli.render.info.reports import format_findings, verdict

    findings = [*check_model(opened.files, opened.sources), *_template_findings(opened, child)]
    if opened.path is not None and opened.files.tensors and all(finding.severity != "error" for finding in findings):
        findings += _load_findings(opened.path, opened.files.header, child)
    if as_json:
        write_document(app, findings_document(opened.location, findings))
    else:
        app.console.write(format_findings(findings, paint=paint(app), width=app.console.line_width))
    if any(finding.severity == "error" for finding in findings):
        raise ModelFileError(f"{opened.files.header.name} is {verdict(findings)}")


def _template_findings(opened: Opened, child: ChildParams) -> Iterator[Finding]:
    """Yield the errors of llama.cpp's own template parser."""
    from llamacli.backend.child.inspection import Inspector

    templates = [  # others are reported already
        (name, text) for name, text in chat_templates(opened.files.header) if not is_go_template(text)
    ]
    inspector: Inspector | None = None
    try:
        for name, text in templates:
            if inspector is None or not inspector.is_alive:
                inspector = Inspector(child)
            try:
                inspector.check_template(text)
            except LibraryError:
                return
            except LlamacliError as error:
                yield Finding("error", f"template {name}", error.message)
    finally:
        if inspector is not None:
            inspector.close()


def _load_findings(path: Path, header: Header, child: ChildParams) -> Iterator[Finding]:
    """Yield why llama.cpp itself does not load a file, its weights aside, or what becomes of the process that tries."""
    from llamacli.backend.child.inspection import Inspector
    from llamacli.gguf.analysis.kind import describe_special
    from llamacli.gguf.check.architectures import REQUIRED_KEYS

    if describe_special(header) or header.architecture not in REQUIRED_KEYS:  # not a model alone, or an unknown one
        return
    with Inspector(child, [path]) as inspector:
        try:
            inspector.try_load(path)
        except (LibraryError, CapacityError):
            return
        except LlamacliError as error:
            yield Finding("error", "file", error.message)


def with_companions(
    app: AppContext, opened: Opened, options: ModelOptions, mmproj: str | None, draft: DraftModelOptions
) -> ModelParams:
    """Return the parameters of the model with its draft model and its projector: the one that is named, or one beside it.

    Raises:
        UsageError: if one is named, and the model is on a server; or if the draft model has another vocabulary.
        ModelError: if one cannot be read, or does not fit the model.
    """
    for given, name in ((mmproj, "--mmproj"), (draft.model_draft, "-md")):
        if given is not None:
            opened.require_local(name)
    if opened.path is None:
        return options.params()
    params = draft.params(app, options.params(), offline=options.offline)
    check_drafts(opened.files, params.draft_model, mtp=params.mtp)
    found = app.find_projector(app, opened.path, None, mmproj=mmproj, offline=options.offline)
    return replace(params, mmproj=str(found) if found is not None else None)


def show_fit(
    app: AppContext, opened: Opened, model: ModelParams, context: ContextParams, child: ChildParams, *, as_json: bool
) -> None:
    """Show the memory that a model needs.

    Raises:
        MemoryFullError: if it does not fit.
    """
    from llamacli.cli.framework.spellings.wording import flag_of
    from llamacli.render.info.json import fit_document
    from llamacli.render.info.reports import format_fit

    if opened.path is not None:
        from llamacli.backend.child.inspection import Inspector

        with Inspector(child, [opened.path, *map(Path, model.companions)]) as inspector:
            report = inspector.fit(opened.path, model, context)
    else:
        from llamacli.engine.fit.search import estimate_model

        report = estimate_model(opened.files, opened.sources[0], model, context)
    words = ("all" if value == -1 else value for value in report.settings.values())  # -1 layers are all
    flags = [word for name, value in zip(report.settings, words, strict=True) for word in (flag_of(name), str(value))]
    if as_json:
        write_document(app, fit_document(opened.location, report, flags))
    else:
        app.console.write(format_fit(report, flags, paint=paint(app), width=app.console.line_width))
    if not report.fits:
        raise MemoryFullError(
            f"{opened.files.header.name} does not fit: it needs {format_bytes(report.total)}",
            hint=f"use {' '.join(flags)}" if flags else "use a smaller quantization",
        )


def show_system(app: AppContext, child: ChildParams, *, as_json: bool) -> None:
    """Show the hardware and the build."""
    from llamacli.backend.child.inspection import Inspector
    from llamacli.backend.child.sandbox import describe_sandbox
    from llamacli.engine.system import describe_system
    from llamacli.render.info.json import system_document
    from llamacli.render.info.reports import format_system

    with Inspector(child) as inspector:
        report = describe_system(VERSION, inspector.build())
    sandbox = describe_sandbox()
    report = replace(report, libraries=_without_home(report.libraries))
    locations = {
        "settings": paths.settings_file(),
        "data": paths.data_dir(),
        "cache": paths.cache_dir(),
        "sockets": paths.runtime_dir(),
        "models": paths.models_dir(),
        "hub cache": paths.hub_cache(),
    }
    shown = {name: _without_home(str(path)) for name, path in locations.items()}
    if as_json:
        write_document(app, system_document(report, sandbox, shown))
    else:
        app.console.show(format_system(report, sandbox, shown, width=app.console.line_width))


def _without_home(path: str) -> str:
    """Return a path with the home directory as `~`, to keep the user's name out of bug reports."""
    home = str(Path.home())
    return f"~{path[len(home) :]}" if path.startswith(home + os.sep) else path


def write_document(app: AppContext, document: Mapping[str, Any]) -> None:
    """Write one JSON document in pieces."""
    from llamacli.render.info.json import encode

    pending: list[str] = []
    size = 0
    for piece in encode(document):
        pending.append(piece)
        size += len(piece)
        if size >= WRITE_SIZE:
            app.console.write("".join(pending))
            pending, size = [], 0
    app.console.write("".join(pending))


def paint(app: AppContext) -> Callable[[str, str], str]:
    """Return the function that styles the reports on this console."""
    return lambda text, style: app.console.styled(text, cast("Style", style), stdout=True)
