"""Models that take images and sound: their projectors, found and checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ModelOptions
from llamacli.cli.framework.options.projector import ProjectorOptions
from llamacli.engine.media.media import NOUNS
from llamacli.engine.params import ModelParams
from llamacli.errors import UsageError
from llamacli.gguf.analysis.projector import SOUND_RATE, read_projector
from llamacli.gguf.model import read_file_header
from llamacli.media.kind import MediaKind


@dataclass(frozen=True, slots=True)
class MediaModel:
    """A model's parameters with its projector, and the samples a second that it wants of a sound."""

    params: ModelParams
    sound_rate: int = SOUND_RATE


def with_projector(
    app: AppContext,
    model: ModelOptions,
    projector: ProjectorOptions,
    params: ModelParams,
    kinds: Collection[MediaKind],
) -> MediaModel:
    """Return the parameters of the model with its projector, if it has one. The model must take these kinds of media.

    Raises:
        UsageError: if it does not.
        ModelError: if the model or the projector cannot be found or read, or they do not fit.
    """
    path = app.find_model(app, model.model, offline=model.offline)
    if kinds:
        found: Path | None = require_projector(app, path, model.model, projector, kinds, offline=model.offline)
    else:
        found = projector.find(app, path, model.model, offline=model.offline)
    if found is None:
        return MediaModel(params)
    encoders = read_projector(read_file_header(found))
    rate = encoders.audio.sound_rate if encoders is not None and encoders.audio is not None else None
    return MediaModel(projector.params(params, found), rate or SOUND_RATE)


def require_projector(
    app: AppContext,
    path: Path,
    reference: str | None,
    projector: ProjectorOptions,
    kinds: Collection[MediaKind],
    *,
    offline: bool,
) -> Path:
    """Return the projector of the model at `path`, which `reference` names. It must take these kinds of media.

    Raises: as `with_projector`.
    """
    found = projector.find(app, path, reference, offline=offline, wanted=True)
    hint = "--mmproj names its projector" if projector.mmproj_auto else "--no-mmproj leaves the projector out"
    encoders = read_projector(read_file_header(found)) if found is not None else None
    takes = {"image": encoders and encoders.image, "audio": encoders and encoders.audio}
    for kind in kinds:
        if found is None:
            raise UsageError(f"{path.name} takes no {NOUNS[kind]}", hint=hint)
        if takes[kind] is None:
            raise UsageError(f"{path.name} takes no {NOUNS[kind]}: its projector {found.name} has no encoder for it")
    assert found is not None  # there is a kind
    return found
