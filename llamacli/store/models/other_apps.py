"""Models of LM Studio and ollama on this machine. They are used in place and never modified."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llamacli.errors import InvalidJSONError, ModelNotFoundError
from llamacli.json_text import parse_json
from llamacli.store.files import paths
from llamacli.store.models.quantization import models_among
from llamacli.store.models.split import first_part, is_later_part

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_MODEL_LAYER = "application/vnd.ollama.image.model"
_PROJECTOR_LAYER = "application/vnd.ollama.image.projector"
_OLLAMA_REGISTRY = "registry.ollama.ai"
_MANIFEST_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class OtherAppModel:
    """A model of another program: its reference and its file."""

    reference: str
    path: Path

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name


def find(reference: str) -> Path:
    """The file of `ollama:name[:tag]` or `lmstudio:publisher/repo[/file.gguf]`. Raises ModelNotFoundError."""
    scheme, _, name = reference.partition(":")
    known = list(_ollama() if scheme == "ollama" else _lm_studio())
    wanted = f"{reference}:latest" if scheme == "ollama" and ":" not in name else reference
    for one in known:
        if one.reference == wanted:
            return first_part(one.path)
    below = _without_companions(one for one in known if one.reference.startswith(f"{wanted.rstrip('/')}/"))
    if len(below) == 1:
        return first_part(below[0].path)
    program = "ollama" if scheme == "ollama" else "LM Studio"
    there = ", ".join(one.reference for one in (below or known)[:5])
    if below:
        raise ModelNotFoundError(f"{reference} has {len(below)} models", hint=f"name one: {there}")
    hint = f"it has {there}" if there else f"no models of {program} found"
    raise ModelNotFoundError(f"{program} has no model {name} on this machine", hint=hint)


def stored() -> list[OtherAppModel]:
    """All models of both programs."""
    return [*_without_companions(_lm_studio()), *_ollama()]


def projector_of(model: Path) -> Path | None:
    """The projector of a model of ollama's, by its file; None if no manifest has both."""
    for folder in paths.ollama_models():
        for manifest in _sorted(folder / "manifests", "*/*/*/*"):
            if _blob(folder, manifest, _MODEL_LAYER) == model and (found := _blob(folder, manifest, _PROJECTOR_LAYER)):
                return found
    return None


def _lm_studio() -> Iterator[OtherAppModel]:
    """LM Studio's models, stored as `PUBLISHER/REPO/FILE.gguf`."""
    for folder in paths.lm_studio_models():
        for file in _sorted(folder, "*/*/*.gguf"):
            if file.is_file() and not is_later_part(file.name):
                yield OtherAppModel(f"lmstudio:{file.relative_to(folder).as_posix()}", file)


def _without_companions(found: Iterable[OtherAppModel]) -> list[OtherAppModel]:
    """The models among the files of LM Studio, judged folder by folder."""
    folders: dict[Path, list[OtherAppModel]] = {}
    for one in found:
        folders.setdefault(one.path.parent, []).append(one)
    return [one for group in folders.values() for one in models_among(group)]


def _ollama() -> Iterator[OtherAppModel]:
    """Ollama's models: blobs named by hash, which `manifests/REGISTRY/NAMESPACE/NAME/TAG` refer to."""
    for folder in paths.ollama_models():
        for manifest in _sorted(folder / "manifests", "*/*/*/*"):
            registry, namespace, name, tag = manifest.relative_to(folder / "manifests").parts
            blob = _blob(folder, manifest, _MODEL_LAYER)
            if blob is None:
                continue
            host = "" if registry == _OLLAMA_REGISTRY else f"{registry}/"
            owner = "" if not host and namespace == "library" else f"{namespace}/"
            yield OtherAppModel(f"ollama:{host}{owner}{name}:{tag}", blob)


def _blob(folder: Path, manifest: Path, kind: str) -> Path | None:
    """The GGUF file of a layer of a manifest, None if the manifest is invalid or the file is missing or not GGUF."""
    try:
        if not manifest.is_file() or manifest.stat().st_size > _MANIFEST_LIMIT:
            return None
        layers = parse_json(manifest.read_bytes())["layers"]
        digests = [layer["digest"] for layer in layers if layer["mediaType"] == kind]
        match = _DIGEST.fullmatch(digests[0]) if len(digests) == 1 else None
        if match is None:
            return None
        blob = folder / "blobs" / f"sha256-{match[1]}"
        with blob.open("rb") as file:
            return blob if file.read(4) == b"GGUF" else None
    except (InvalidJSONError, OSError, ValueError, KeyError, TypeError):
        return None


def _sorted(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:  # no permission: the store of ollama's service is private on some systems
        return []
