"""Whether a model takes pictures or sound, and whether a projector fits it: known from the headers of the two files."""

from __future__ import annotations

import os

from llamacli.engine.media.media import NOUNS, MediaKind
from llamacli.errors import ModelFileError, ModelUnsupportedError, UsageError
from llamacli.gguf.analysis.projector import Projector, read_projector
from llamacli.gguf.check.loadable import check_file
from llamacli.gguf.check.projector import projector_findings
from llamacli.gguf.header import Header

_BOUND_TO_PROMPT = ("hunyuanvl", "deepseek4v")
"""Types of projectors whose pictures have other embeddings or positions for what comes before them in the prompt."""


def check_projector(path: str | os.PathLike[str], model: Header) -> Projector:
    """Return what a projector file says after checking that it belongs to a model with this header.

    Raises:
        ModelFileError: if the file is corrupt, or llama.cpp would refuse it or crash.
        ModelUnsupportedError: if it is not a projector, or makes embeddings of another width than the model's.
    """
    header = check_file(path)
    projector = read_projector(header)
    if projector is None or not (projector.image or projector.audio):
        raise ModelUnsupportedError(f"{header.name} is not a projector of pictures or sound", parameter="mmproj")
    width = model.integer(f"{model.architecture}.embedding_length")
    for encoder in (projector.image, projector.audio):
        if encoder is not None and None not in (encoder.width, width) and encoder.width != width:
            raise ModelUnsupportedError(
                f"the projector {header.name} makes embeddings of {encoder.width} values, and {model.name} has {width}",
                hint="use the projector that was made for this model",
                parameter="mmproj",
            )
        if encoder is not None and encoder.type in _BOUND_TO_PROMPT:
            raise ModelUnsupportedError(
                f"projectors of the type {encoder.type} are not supported: what they make of a picture depends on its place",
                parameter="mmproj",
            )
    for finding in projector_findings(header):
        raise ModelFileError(f"{header.name}: {finding.subject}: {finding.message}", offset=finding.offset, parameter="mmproj")
    return projector


def refused_media(kind: MediaKind, *, has_projector: bool) -> UsageError:
    """Return the error for a picture or sound in a prompt of a model that does not take it."""
    hint = "mmproj names its projector" if not has_projector else None
    return UsageError(f"this model takes no {NOUNS[kind]}", hint=hint, parameter="mmproj")
