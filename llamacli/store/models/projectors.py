"""Projectors of models: files that turn pictures or sounds into embeddings, found where the models are.

Beside a model a projector is recognized by its name (`mmproj-model-F16.gguf`, `model.mmproj-q8_0.gguf`) and taken if it makes
embeddings of the model's width. In a folder with several models the name must also be that of the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llamacli.errors import ModelError, ModelNotFoundError
from llamacli.gguf.analysis.projector import ARCHITECTURE, read_projector
from llamacli.gguf.model import read_file_header
from llamacli.store.files import paths
from llamacli.store.files.progress import OnProgress
from llamacli.store.models import hub_catalogue
from llamacli.store.models import resolve as models
from llamacli.store.models.quantization import QUANTIZATION, is_projector, models_among, projector_preference
from llamacli.store.models.references import expand_alias
from llamacli.store.models.split import is_later_part

_MARK = re.compile(r"mmproj(-model)?", re.IGNORECASE)
_PART = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)", re.IGNORECASE)
_MEDIA = re.compile(r"image|audio|vision|\[IMG\]", re.IGNORECASE)
_SEPARATORS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class _File:
    path: Path

    @property
    def name(self) -> str:
        return self.path.name


def find_beside(model: Path) -> Path | None:
    """Return the projector of a model in its folder, or in that of its repository; None if there is none that fits."""
    width = _width(model)
    for folder in _folders(model):
        files = [_File(path) for path in gguf_files(folder)]
        projectors = [file.path for file in files if is_projector(file.name)]
        if not projectors:
            continue
        words = {_words(file.name) for file in models_among(files)}
        own, is_alone = _words(model.name), len(words) <= 1
        related = [path for path in projectors if _is_related(_words(path.name), own, is_alone=is_alone)]
        fitting = [path for path in related if _fits(path, width)]
        if fitting:
            return min(fitting, key=lambda path: projector_preference(path.name))
    return None


def find(
    model: Path,
    reference: str | None,
    *,
    aliases: Mapping[str, str],
    offline: bool,
    on_progress: OnProgress,
    wanted: bool = False,
) -> Path | None:
    """Return the projector of a model that `reference` names, None if it has none.

    It is beside the model, or is what its ollama manifest names. If it is `wanted`, or the model's chat template has pictures
    or sounds, it is fetched from the model's repository on the hub. Raises DownloadError if that fails.
    """
    if (found := find_beside(model)) is not None:
        return found
    target = expand_alias(reference, aliases) if reference is not None else ""
    if target.startswith("ollama:"):
        from llamacli.store.models import other_apps

        return other_apps.projector_of(model)
    named = hub_catalogue.find(target)
    own = named.projector if named is not None else ""
    if offline or paths.offline_requested() or not (wanted or own or _knows_media(model)):
        return None
    target = named.reference if named is not None else target
    if not target.startswith("hf:"):
        return None
    from llamacli.store.models import hub

    repository = replace(hub.parse(target), selector=own or None)
    sha256 = named.projector_sha256 if named is not None and own else None
    try:
        fetched = hub.fetch(repository, offline=False, on_progress=on_progress, projector=True, sha256=sha256)
    except ModelNotFoundError:
        return None
    return fetched if _fits(fetched, _width(model)) else None


def resolve(reference: str, *, aliases: Mapping[str, str], offline: bool, on_progress: OnProgress) -> Path:
    """Return the file of a projector that `reference` names as a model is named; of `hf:user/repo` the preferred one.

    Raises ModelNotFoundError, UsageError or DownloadError.
    """
    target = expand_alias(reference, aliases)
    if not target.startswith("hf:"):
        return models.resolve(target, aliases=aliases, offline=offline, on_progress=on_progress)
    from llamacli.store.models import hub

    return hub.fetch(hub.parse(target), offline=offline or paths.offline_requested(), on_progress=on_progress, projector=True)


def models_beside(projector: Path) -> list[Path]:
    """Return the models in the folder of a projector that take it; none for a file that is not called a projector."""
    if not is_projector(projector.name):
        return []
    files = [_File(path) for path in gguf_files(projector.parent)]
    return [file.path for file in models_among(files) if find_beside(file.path) == projector]


def _folders(model: Path) -> list[Path]:
    """The folder of the model, and those above it in a repository of the hub's cache."""
    folders = [model.parent]
    while "snapshots" in folders[-1].parts[:-2]:
        folders.append(folders[-1].parent)
    return folders


def gguf_files(folder: Path) -> list[Path]:
    """Return the GGUF files of a folder, of those in parts the first one; none if it cannot be read."""
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".gguf" and path.is_file())
    except OSError:  # no permission
        return []
    return [path for path in found if not is_later_part(path.name)]


def _words(name: str) -> str:
    """Return a file's name without its quantization, its part and what makes it a projector's, in lower case."""
    plain = QUANTIZATION.sub(" ", _MARK.sub(" ", _PART.sub("", name)).removesuffix(".gguf"))
    return _SEPARATORS.sub(" ", plain.lower()).strip()


def _is_related(projector: str, model: str, *, is_alone: bool) -> bool:
    """Return whether the names say that the projector belongs to the model, which is the only one if it is `is_alone`."""
    if not projector:
        return is_alone
    return f"{model} ".startswith(f"{projector} ") or f"{projector} ".startswith(f"{model} ")


def _knows_media(model: Path) -> bool:
    """Return whether the chat template of a model mentions pictures or sounds."""
    try:
        template = read_file_header(model).text("tokenizer.chat_template") or ""
    except ModelError:
        return False
    return _MEDIA.search(template) is not None


def _width(model: Path) -> int | None:
    try:
        header = read_file_header(model)
    except ModelError:  # loading it says what is wrong
        return None
    return header.integer(f"{header.architecture}.embedding_length")


def _fits(path: Path, width: int | None) -> bool:
    try:
        header = read_file_header(path)
    except ModelError:
        return False
    projector = read_projector(header) if header.architecture == ARCHITECTURE else None
    if projector is None:
        return False
    widths = {encoder.width for encoder in (projector.image, projector.audio) if encoder is not None}
    return width is not None and bool(widths) and widths <= {width, None}
