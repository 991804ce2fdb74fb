"""A model that may be served: its names, and how it is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from llamacli.engine.params import ContextParams, ModelParams, SamplingParams

if TYPE_CHECKING:
    from llamacli.backend.child.engine import ChildEngine

DEFAULT_CONTEXT = 8192
"""Tokens of each conversation if no size is given and the model was trained with more."""

PREFIX_BYTES = 256 << 20
"""Memory for evaluated prompts of each model: a short request of a client does not cost another its long prompt."""


SCORED_TOKENS = 64
"""Tokens of a prompt that are scored in one step: their logits take 64 times the size of the vocabulary."""


class OpenBackend(Protocol):
    """Loads a model: `backend.local.open_backend`, or a fake in tests."""

    def __call__(
        self,
        path: Path,
        model: ModelParams,
        context: ContextParams,
        *,
        prefix_bytes: int = 0,
        on_load: Callable[[float], None] | None = None,
    ) -> ChildEngine:
        """Load the model and return its backend."""


BURST_SECONDS = 0.016
"""Tokens are sent in groups that took so long: one frame of a screen."""

PROMPT_SECONDS = 0.016
"""A part of a prompt that arrives may take so long beside running answers."""

FitsMemory = Callable[[Path, ModelParams, ContextParams], bool]
"""Returns whether a model fits into the memory that is free now."""


def _no_projector(_path: Path) -> Path | None:
    return None


def _no_draft(params: ModelParams) -> ModelParams:
    return params


def _unchanged(base: SamplingParams) -> SamplingParams:
    return base


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model that may be served. `name` and `aliases` are what clients call it; `find` returns its file, fetched if need be.

    `find_projector` returns the projector of the file, None if it has none, and `projector` is its name if it was given.
    `add_draft` returns the parameters with what drafts, if anything does, and `draft` are the values that say so.
    `sampling` changes the defaults of sampling, which the model may recommend. `template` replaces the model's chat template.
    `fewer_sequences` are tried in turn if there is too little memory for those of `context`.
    """

    name: str
    find: Callable[[], Path]
    find_projector: Callable[[Path], Path | None] = _no_projector
    projector: str | None = None
    add_draft: Callable[[ModelParams], ModelParams] = _no_draft
    draft: tuple[str | int | None, ...] = ()
    aliases: tuple[str, ...] = ()
    model: ModelParams = field(default_factory=ModelParams)
    context: ContextParams = field(default_factory=ContextParams)
    sampling: Callable[[SamplingParams], SamplingParams] = _unchanged
    template: str | None = None
    fewer_sequences: tuple[int, ...] = ()
    prefix_bytes: int = PREFIX_BYTES

    def is_like(self, other: ModelSpec) -> bool:
        """Return whether both load the same model in the same way, with the same defaults of sampling."""
        base = SamplingParams(seed=0)
        return self.sampling(base) == other.sampling(base) and all(
            getattr(self, one.name) == getattr(other, one.name)
            for one in dataclasses.fields(self)
            if one.name not in ("find", "find_projector", "add_draft", "sampling")
        )

    def params_for(self, path: Path) -> ModelParams:
        """Return the parameters of the model, with its projector and draft model. Raises what finding them raises."""
        found, params = self.find_projector(path), self.add_draft(self.model)
        return params if found is None else dataclasses.replace(params, mmproj=str(found))

    def context_for(self, path: Path) -> ContextParams:
        """Return the parameters of the context. Its size is fixed, because a larger one would end what runs in the old one.

        A micro-batch is a whole batch: a prompt that is read never keeps running answers for longer.

        Raises:
            ModelFileError, ModelUnsupportedError: if the file's header cannot be read.
        """
        from llamacli.gguf.check.loadable import check_loadable

        header = check_loadable(path)
        trained = header.integer(f"{header.architecture}.context_length") or DEFAULT_CONTEXT
        given = self.context.n_ctx
        size = min(trained, DEFAULT_CONTEXT) if given is None else given or trained
        n_ubatch = min(self.context.n_ubatch, self.context.n_batch)
        return dataclasses.replace(
            self.context,
            n_ctx=size,
            n_batch=n_ubatch,
            n_ubatch=n_ubatch,
            n_outputs=SCORED_TOKENS,
            burst_seconds=BURST_SECONDS,
            prompt_seconds=PROMPT_SECONDS,
        )
