"""Choice among a repository's GGUF files: by name, or by memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from llamacli.errors import ModelNotFoundError, UsageError
from llamacli.store.models.split import part_names

PREFERRED = ("Q4_K_M", "UD-Q4_K_XL", "Q4_K_S", "IQ4_XS", "Q4_0", "Q4_1", "IQ4_NL", "MXFP4", "Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0",
             "Q3_K_M", "Q3_K_L", "F16", "BF16")  # fmt: skip
"""Preferred quantizations if none is named and they fit into memory, by the customary balance of quality and size."""

PREFERRED_PROJECTORS = ("F16", "FP16", "Q8_0", "BF16", "F32", "FP32")
"""The same for projectors: F16 is exact enough, small and fast everywhere, BF16 is slow on many processors."""

QUANTIZATION = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32|FP16|FP32))(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_PROJECTOR = re.compile(r"mmproj", re.IGNORECASE)
# files beside the models of a repository: image projectors, importance matrices, draft heads
_COMPANION = re.compile(r"mmproj|imatrix|(^|/)mtp-|eagle3|dflash", re.IGNORECASE)
# names of draft models and heads, adapters and vocabularies, which some repositories also use for models
_LIKELY_COMPANION = re.compile(
    r"(?<![a-z0-9])(draft(er)?|mtp|nextn|eagle\d*|medusa|speculator|projector|loras?|adapters?|control[-_]vectors?|vocab)(?![a-z0-9])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository: its path, its size in bytes (None if unknown), its hash (`sha256` or git's)."""

    path: str
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model of a repository: its parts in order, a single one unless it is split."""

    parts: tuple[RemoteFile, ...]

    @property
    def name(self) -> str:
        """The path of the first part."""
        return self.parts[0].path

    @property
    def quantization(self) -> str | None:
        """The quantization in its name, in capitals, or None."""
        return quantization_of(self.name)

    @property
    def size(self) -> int | None:
        """The total size of the parts in bytes, or None if unknown."""
        sizes = [part.size for part in self.parts]
        return sum(size for size in sizes if size is not None) if None not in sizes else None


def quantization_of(name: str) -> str | None:
    """The quantization in a file's name, in capitals (`Q4_K_M` of `model-q4_k_m.gguf`), or None."""
    found = QUANTIZATION.findall(PurePosixPath(name).name) or QUANTIZATION.findall(name)
    return str(found[-1]).upper() if found else None


def candidates(files: Iterable[RemoteFile]) -> list[Candidate]:
    """The complete models among `files`. Parts are grouped; models with a missing part are omitted."""
    by_path = {file.path: file for file in files if file.path.lower().endswith(".gguf")}
    found = []
    for path in sorted(by_path):
        folder, _, name = path.rpartition("/")
        names = part_names(name)
        wanted = [f"{folder}/{part}" if folder else part for part in names]
        if name == names[0] and all(part in by_path for part in wanted):
            found.append(Candidate(tuple(by_path[part] for part in wanted)))
    return found


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def models_among(found: Iterable[N]) -> list[N]:
    """The models among `found`, without companion files such as image projectors, importance matrices, draft heads, adapters.

    Files with names like `draft` or `lora` count as models only if the repository has nothing else.
    """
    possible = [one for one in found if not _COMPANION.search(one.name)]
    return [one for one in possible if not _LIKELY_COMPANION.search(one.name)] or possible


def is_projector(name: str) -> bool:
    """Return whether a file's name says that it is a projector of pictures or sounds."""
    return _PROJECTOR.search(name) is not None


def projector_preference(name: str) -> tuple[int, str]:
    """Return a key by which the projector to prefer sorts first."""
    quantization = quantization_of(name)
    known = quantization in PREFERRED_PROJECTORS
    return PREFERRED_PROJECTORS.index(quantization or "") if known else len(PREFERRED_PROJECTORS), name


def choose_projector(found: list[Candidate], selector: str | None, *, where: str) -> Candidate:
    """The projector that `selector` names in the repository `where`: a file, a quantization, or None for the preferred one.

    Raises ModelNotFoundError if there is none.
    """
    wanted = (selector or "").lower()
    exact = [one for one in found if wanted in (one.name.lower(), PurePosixPath(one.name).name.lower())]
    projectors = [one for one in found if is_projector(one.name)]
    named = exact or [one for one in projectors if wanted in ("", (one.quantization or "").lower())]
    if named:
        return min(named, key=lambda one: projector_preference(one.name))
    if selector is None or not projectors:
        raise ModelNotFoundError(f"{where} has no projector of pictures or sound", hint="they are called mmproj-….gguf")
    known = ", ".join(sorted(one.quantization or one.name for one in projectors))
    raise ModelNotFoundError(f"{where} has no projector {selector}", hint=f"it has {known}")


def choose(found: list[Candidate], selector: str | None, *, memory: int, where: str) -> Candidate:
    """The model that `selector` (a file's path, a quantization, part of a name, or None) names in the repository `where`.

    With None: the first of PREFERRED that fits into `memory` bytes, else the largest model that fits, else the smallest.
    Raises ModelNotFoundError if there is no such model, UsageError if several match; both list the files.
    """
    if selector:
        return _named(found, selector, where)
    models = models_among(found)
    if not models:
        raise ModelNotFoundError(
            f"{where} holds no GGUF file", hint="look for a repository whose name ends in -GGUF, which holds the same model"
        )
    fitting = [one for one in models if (one.size or 0) <= memory]
    for preferred in PREFERRED:
        matching = [one for one in fitting if one.quantization == preferred]
        if matching:
            return _only(matching, preferred, where)
    if fitting:
        return max(fitting, key=lambda one: one.size or 0)
    return min(models, key=lambda one: one.size or 0)


def _named(found: list[Candidate], selector: str, where: str) -> Candidate:
    wanted = selector.lower()
    for one in found:
        if any(wanted in (part.path.lower(), PurePosixPath(part.path).name.lower()) for part in one.parts):
            return one
    models = models_among(found)
    exact = [one for one in models if (one.quantization or "").lower() == wanted]
    # `q4_k_m` also matches the only file with it anywhere in its name, such as `Q4_K_M-imat`
    matching = exact or [one for one in models if wanted in one.name.lower()]
    if not matching:
        known = sorted({one.quantization or one.name for one in models})
        raise ModelNotFoundError(f"{where} has no {selector}", hint=f"it has {', '.join(known) or 'no GGUF file'}")
    return _only(matching, selector, where)


def _only(matching: list[Candidate], selector: str, where: str) -> Candidate:
    if len(matching) > 1:
        names = ", ".join(one.name for one in matching)
        raise UsageError(f"{where} has more than one {selector}", hint=f"name one: {names}")
    return matching[0]


def memory_of_this_machine() -> int:
    """The bytes available to a model: 80 % of the memory, or of the control group's (a container's) limit."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 1 << 62
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        limit = "max"
    return int(min(total, int(limit) if limit.isdecimal() else total) * 0.8)
