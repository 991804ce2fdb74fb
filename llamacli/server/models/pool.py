"""The pool of models: loaded when they are asked for, as many as fit; freed when they are idle, never while they are busy."""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from llamacli.engine.params import ModelParams
from llamacli.errors import ClosedError, EngineDiedError, MemoryFullError, ModelNotFoundError, UsageError
from llamacli.server.models.admission import QueueFullError
from llamacli.server.models.loaded import LoadedModel
from llamacli.server.models.spec import FitsMemory, ModelSpec, OpenBackend

logger = logging.getLogger(__name__)


_MOST_DEATHS, _DEATHS_SECONDS = 3, 60.0
"""A model whose process dies so often in so many seconds is refused until these have passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolParams:
    """`queue`: requests that may wait for each model. `keep_alive`: seconds after which an idle model is freed, None never.

    `most`: models that are loaded at once, None as many as fit.
    """

    queue: int = 256
    keep_alive: float | None = None
    most: int | None = None


@dataclass(slots=True)
class _Place:
    """What is known of one model. `progress` from 0 to 1 while it is loading, and `waiting` requests wait for that.

    `deaths` are the times at which its process has died lately (`time.monotonic`).
    """

    spec: ModelSpec
    loaded: LoadedModel | None = None
    progress: float | None = None
    error: Exception | None = None
    waiting: int = 0
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_DEATHS))


class ModelPool:
    """The models of a server, for one event loop. `close()` frees all."""

    def __init__(self, specs: Sequence[ModelSpec], open_backend: OpenBackend, fits: FitsMemory, params: PoolParams) -> None:
        self._places: dict[str, _Place] = {}
        self._names: dict[str, str] = {}
        self._retired: list[LoadedModel] = []
        self.replace(specs, params)
        self._open = open_backend
        self._fits = fits
        self._loading = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._closed = False

    def replace(self, specs: Sequence[ModelSpec], params: PoolParams) -> None:
        """Serve these models from now on. Loaded ones stay if they would be loaded in the same way; others end when idle."""
        before, self.params = self._places, params
        self._places = {}
        for spec in specs:
            old = before.get(spec.name)
            self._places[spec.name] = old if old is not None and old.spec.is_like(spec) else _Place(spec)
        self._names = {name: spec.name for spec in specs for name in (*spec.aliases, spec.name)}
        for name, place in before.items():
            if place.loaded is not None and self._places.get(name) is not place:
                self._retired.append(place.loaded)

    @property
    def names(self) -> list[str]:
        """The names of the models."""
        return list(self._places)

    @property
    def default(self) -> str:
        """The model of requests that name none."""
        return next(iter(self._places))

    def loaded(self) -> list[LoadedModel]:
        """Return the models that are loaded."""
        return [place.loaded for place in self._places.values() if place.loaded is not None]

    def state_of(self, name: str) -> tuple[str, float | None]:
        """Return the state of a model by its own name (loaded, loading, failed, unloaded), and the progress of loading."""
        place = self._places[name]
        if place.loaded is not None:
            return "loaded", None
        if place.progress is not None:
            return "loading", place.progress
        return ("failed" if place.error is not None else "unloaded"), None

    def spec_of(self, name: str) -> ModelSpec:
        """Return a model by its own name."""
        return self._places[name].spec

    def find(self, name: object) -> str:
        """Return the own name of a model by any of its names; the default model for None.

        Raises:
            UsageError: if the name is no text.
            ModelNotFoundError: if there is no such model.
        """
        if name is None:
            return self.default
        if not isinstance(name, str):
            raise UsageError("model must be a string", parameter="model")
        found = self._names.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self._names, n=1)
            known = f"served are {', '.join(self.names)}"
            message = f"the model {name[:200]!r} does not exist"
            raise ModelNotFoundError(message, hint=f"did you mean {near[0]}?" if near else known, parameter="model")
        return found

    @asynccontextmanager
    async def use(self, name: object) -> AsyncIterator[LoadedModel]:
        """Hold a model for the block, loaded first if need be. Raises as `find`, and what loading raises."""
        place = self._places[self.find(name)]
        if place.loaded is not None and not place.loaded.backend.is_alive:
            await self._bury(place, place.loaded)
        while (model := place.loaded) is None:
            if place.waiting >= self.params.queue:
                raise QueueFullError(place.waiting, 5.0)
            place.waiting += 1
            try:
                await self._load(place)
            finally:
                place.waiting -= 1
        model.users += 1
        try:
            yield model
        finally:
            model.users -= 1
            model.used = time.monotonic()
            if not model.backend.is_alive:
                await self._bury(place, model)
            if not model.users and self._places.get(place.spec.name) is not place:
                await self._free_retired(place, model)
            if not model.users and len(self._places) > 1:
                async with self._changed:
                    self._changed.notify_all()

    async def _load(self, place: _Place) -> None:
        async with self._loading:
            if place.loaded is not None:
                return
            if self._closed:
                raise ClosedError("the server is shutting down")
            self._check_deaths(place)
            place.progress, place.error = 0.0, None
            try:
                path = await asyncio.to_thread(place.spec.find)
                params = await asyncio.to_thread(place.spec.params_for, path)
                await self._make_room(place.spec, path, params)
                place.loaded = await asyncio.to_thread(self._opened, place, path, params)
                place.loaded.receive_here()
            except Exception as error:
                place.error = error
                raise
            finally:
                place.progress = None
            logger.info("loaded %s", place.spec.name)

    def _opened(self, place: _Place, path: Path, params: ModelParams) -> LoadedModel:
        spec = place.spec

        def on_load(share: float) -> None:
            place.progress = share

        context = spec.context_for(path)
        fewer = list(spec.fewer_sequences)
        while True:
            try:
                backend = self._open(path, params, context, prefix_bytes=spec.prefix_bytes, on_load=on_load)
            except MemoryFullError:
                if not fewer:
                    raise
                context = dataclasses.replace(context, n_seq_max=fewer.pop(0))
            else:
                return LoadedModel(spec, backend, queue=self.params.queue)

    async def _make_room(self, spec: ModelSpec, path: Path, params: ModelParams) -> None:
        """Free idle models until another fits; wait while all are busy. The last one is loaded whatever the estimate says."""
        context = await asyncio.to_thread(spec.context_for, path)
        while others := self.loaded():
            has_place = self.params.most is None or len(others) < self.params.most
            if has_place and await asyncio.to_thread(self._fits, path, params, context):
                return
            async with self._changed:
                idle = [model for model in self.loaded() if not model.users]
                if not idle:
                    await self._changed.wait()
                    continue
            await self._free(min(idle, key=lambda model: model.used))

    async def _free(self, model: LoadedModel) -> None:
        """Free a model, unless somebody has begun to use it meanwhile, or it has been freed or taken out of service."""
        place = self._places.get(model.name)
        if model.users or place is None or place.loaded is not model:
            return
        place.loaded = None
        logger.info("freeing %s, which is idle", model.name)
        await asyncio.to_thread(model.close)

    async def _free_retired(self, place: _Place, model: LoadedModel) -> None:
        """Free a model that is not served any more, and that nobody uses."""
        place.loaded = None
        if model in self._retired:
            self._retired.remove(model)
        logger.info("freeing %s, which is not served any more", model.name)
        await asyncio.to_thread(model.close)

    async def _bury(self, place: _Place, model: LoadedModel) -> None:
        """Forget a model whose process has died: the next request loads it again."""
        if place.loaded is model:
            place.loaded = None
            place.deaths.append(time.monotonic())
            logger.warning("the process of %s died; the next request loads it again", model.name)
            model.refuse(EngineDiedError(f"the process of {model.name} died", hint="try again"))
            await asyncio.to_thread(model.close)

    def _check_deaths(self, place: _Place) -> None:
        """Raise EngineDiedError for a model whose process keeps dying."""
        if len(place.deaths) < _MOST_DEATHS:
            return
        left = place.deaths[0] + _DEATHS_SECONDS - time.monotonic()
        if left > 0:
            times = f"{_MOST_DEATHS} times in {_DEATHS_SECONDS:.0f} s"
            hint = f"it is tried again in {left:.0f} s; llamacli info --check examines the file"
            raise EngineDiedError(f"the process of {place.spec.name} died {times}", hint=hint)

    async def free_idle(self) -> None:
        """Free the models that nobody has used for the time of `keep_alive`, and those that are not served any more."""
        while (model := next((model for model in self._retired if not model.users), None)) is not None:
            self._retired.remove(model)
            await asyncio.to_thread(model.close)
        limit = self.params.keep_alive
        if limit is None:
            return
        for model in self.loaded():
            if not model.users and time.monotonic() - model.used > limit:
                await self._free(model)

    async def close(self) -> None:
        """Free all models. What still runs ends with ClosedError."""
        self._closed = True
        models = [place.loaded for place in self._places.values() if place.loaded is not None] + self._retired
        for place in self._places.values():
            place.loaded = None
        self._retired = []
        for model in models:
            model.refuse(ClosedError("the server is shutting down"))
            await asyncio.to_thread(model.close)
