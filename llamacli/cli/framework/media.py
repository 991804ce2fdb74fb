"""Models that take images and sound: their projectors, found and checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

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
    found = projector.find(app, path, model.model, offline=model.offline, wanted=bool(kinds))
    if found is None:
        for kind in kinds:
            hint = "--mmproj names its projector" if projector.mmproj_auto else "--no-mmproj leaves the projector out"
            raise UsageError(f"{path.name} takes no {NOUNS[kind]}", hint=hint)
        return MediaModel(params)
    encoders = read_projector(read_file_header(found))
    takes = {"image": encoders and encoders.image, "audio": encoders and encoders.audio}
    for kind in kinds:
        if takes[kind] is None:
            raise UsageError(f"{path.name} takes no {NOUNS[kind]}: its projector {found.name} has no encoder for it")
    rate = encoders.audio.sound_rate if encoders is not None and encoders.audio is not None else None
    return MediaModel(projector.params(params, found), rate or SOUND_RATE)
