"""What a worker does: it loads the model once, and answers or embeds groups with it. Dask calls these functions by name."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llamacli.backend.child.params import ChildParams
from llamacli.engine.chat.question import Question
from llamacli.engine.embedding.params import Attention, EmbeddingParams
from llamacli.engine.events import Answer, Failed
from llamacli.engine.generation.job import Job
from llamacli.engine.params import ContextParams, Description, GenerationParams, ModelParams, SamplingParams
from llamacli.engine.runtime.logit_bias import Bias
from llamacli.errors import LlamacliError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model as every worker loads it: a file that it can read, or what it fetches once by its name.

    `finds_projector`: a worker finds the projector likewise, if the model has one and `model` names none.
    """

    reference: str
    model: ModelParams
    context: ContextParams
    child: ChildParams
    attention: Attention | None = None
    embeds: bool = False
    finds_projector: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """Row number `number` of an input, as a worker gets it."""

    number: int
    question: Question
    params: GenerationParams


_models: dict[str, Any] = {}
_lock = threading.Lock()


def _loaded(spec: ModelSpec) -> Any:
    """The engine or embedder of this process. Another model takes the place of the last one."""
    key = repr(spec)
    with _lock:
        if key not in _models:
            for old in list(_models):
                _models.pop(old).close()
            _models[key] = _open(spec)
        return _models[key]


def _open(spec: ModelSpec) -> Any:
    from llamacli.store.models.resolve import resolve

    path = Path(spec.reference)
    if not path.is_file():
        path = resolve(spec.reference)
    if spec.embeds:
        from llamacli.backend.child.embedder import open_embedder

        return open_embedder(path, spec.model, spec.context, attention=spec.attention, child=spec.child)
    from llamacli.backend.local import open_backend

    return open_backend(path, _with_projector(spec, path), spec.context, child=spec.child)


def _with_projector(spec: ModelSpec, path: Path) -> ModelParams:
    """The parameters of the model at `path`, with the projector that is found. Raises ModelError as `projectors.find`."""
    if not spec.finds_projector or spec.model.mmproj is not None:
        return spec.model
    from llamacli.store.models import projectors

    found = projectors.find(path, spec.reference, aliases={}, offline=False, on_progress=lambda progress: None)
    return spec.model if found is None else replace(spec.model, mmproj=str(found))


@dataclass(frozen=True, slots=True)
class Described:
    """What a client has to know of a model before it asks."""

    description: Description
    sampling: SamplingParams
    biases: tuple[tuple[int, float], ...]


def describe(spec: ModelSpec, base: SamplingParams, biases: Sequence[Bias]) -> Described:
    """Return what the model is, `base` with the sampling that it recommends, and biases by token."""
    engine = _loaded(spec)
    return Described(engine.describe(), engine.sampling_defaults(base), engine.resolve_biases(biases))


def answer(spec: ModelSpec, rows: Sequence[Asked]) -> list[Answer | Failed]:
    """Return the answer or the error of each row, side by side, in any order."""
    engine = _loaded(spec)
    found: list[Answer | Failed] = []
    jobs = []
    for row in rows:
        try:
            jobs.append(Job(number=row.number, turn=engine.render(row.question), params=row.params))
        except LlamacliError as error:
            found.append(Failed(row.number, error))
    found += [event for event in engine.answer_many(iter(jobs)) if isinstance(event, Answer | Failed)]
    return found


@dataclass(frozen=True, slots=True)
class DescribedEmbedder:
    """What a client has to know of an embedding model."""

    name: str
    pooling: str
    attention: str
    limit: int
    dimension: int
    width: int
    fingerprint: str
    notes: tuple[str, ...]


def describe_embedder(spec: ModelSpec) -> DescribedEmbedder:
    """Return what the model is."""
    one = _loaded(spec)
    return DescribedEmbedder(
        one.name, one.pooling, one.attention, one.limit, one.dimension, one.width, one.fingerprint(), tuple(one.notes)
    )


def embed(spec: ModelSpec, texts: Sequence[Any], params: EmbeddingParams, query: str | None) -> list[Any]:
    """Return the outcome of each text, or with a query its score, in order."""
    embedder = _loaded(spec)
    return list(embedder.embed(texts, params) if query is None else embedder.rerank(query, texts, params))
