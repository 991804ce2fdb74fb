"""A draft model: a smaller model with the same vocabulary, or an EAGLE-3 head, loaded beside the one that answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from llamacli.engine.generation.drafts.head_drafts import HeadDrafts, open_head_file
from llamacli.engine.generation.drafts.model_drafts import ModelDrafts
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.cache_size import cache_bytes, check_cache
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from llamacli.errors import LlamacliError, MemoryFullError, UsageError
from llamacli.gguf.check import eagle
from llamacli.gguf.check.heads import TAKES_BACK

_NO_LIMIT = 60.0


def draft_params(params: ModelParams) -> ModelParams:
    """Return the parameters that the draft model of a model with these parameters is loaded with."""
    return dataclasses.replace(
        params,
        gpu_layers=params.draft_gpu_layers,
        loras=(),
        overrides=(),
        mmproj=None,
        image_max_tokens=None,
        draft_model=None,
        draft_gpu_layers=None,
        mtp=False,
    )


def draft_context_params(params: ContextParams) -> ContextParams:
    """Return the parameters of the draft model's context beside one with these parameters.

    What changes the positions belongs to the larger model. Without a sliding window in the cache tokens can be dropped.
    """
    plain = ContextParams()
    names = [field.name for field in dataclasses.fields(plain) if field.name.startswith(("rope_", "yarn_"))]
    own = {name: getattr(plain, name) for name in names}
    return dataclasses.replace(params, swa_full=True, invariant=False, n_outputs=0, rollback=0, burst_seconds=_NO_LIMIT, **own)


class DraftModel:
    """The draft model beside a model, whose notes say if it drafts nothing. Closed after what `open_context` returned.

    Raises (when built):
        UsageError: if it cannot draft for any model.
        ModelError, MemoryFullError, CancelledError: as `Model`.
    """

    def __init__(self, path: Path, params: ModelParams, target: Model, cancel: CancelFlag, *, may_die: bool) -> None:
        self._target = target
        self.model = Model(path, draft_params(params), cancel=cancel, may_die=may_die, is_draft=True)
        self._is_head = eagle.is_eagle(self.model.header)
        try:
            is_whole = self.model.can_generate and not self.model.has_encoder and not self.model.is_recurrent
            if not is_whole and not self._is_head:
                kind = "recurrent and cannot take back a token" if self.model.is_recurrent else "not a generating model"
                raise UsageError(f"{path.name} cannot be a draft model: it is {kind}", parameter="draft_model")
        except BaseException:
            self.model.close()
            raise
        if target.is_recurrent and target.header.architecture not in TAKES_BACK:
            target.notes.append(f"{path.name} drafts nothing: the layers of {target.path.name} cannot take back tokens")

    def open_context(self, beside: Context) -> ModelDrafts | HeadDrafts:
        """Return the drafts of this model for a context of the larger one.

        Raises:
            MemoryFullError: if the context does not fit beside that of the larger model.
        """
        params = beside.params
        own, size = draft_context_params(params), params.n_ctx or self._target.n_ctx_train
        theirs = cache_bytes(self._target, params) * size * params.n_seq_max
        try:
            check_cache(self.model, own, size, beside=theirs)
            if self._is_head:
                return open_head_file(beside, self.model, own)
            context = Context(self.model, own)
        except MemoryFullError as error:
            raise MemoryFullError(
                f"the draft model {self.model.path.name}: {error.message}", hint=error.hint, parameter=error.parameter
            ) from error
        try:
            return ModelDrafts(context, self._target.vocabulary.size, self._relative_size)
        except LlamacliError:
            context.close()
            raise

    @property
    def _relative_size(self) -> float:
        return self.model.header.size / max(1, self._target.header.size)

    def close(self) -> None:
        """Free the model."""
        self.model.close()
