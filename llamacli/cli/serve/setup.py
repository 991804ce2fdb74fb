"""From the options of `serve` to the state of a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from llamacli.backend import local
from llamacli.cli.framework.command import Reread
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import (
    ContextOptions,
    DraftModelOptions,
    ProjectorOptions,
    PromptCacheOptions,
    SamplingOptions,
)
from llamacli.cli.framework.settings import settings
from llamacli.cli.serve.options import AccessOptions, ListenOptions, LoadOptions, LogOptions, ServedModelOptions
from llamacli.engine.params import SamplingParams
from llamacli.errors import UsageError
from llamacli.server.access_log import format_json, format_text
from llamacli.server.batches.store import BatchStore
from llamacli.server.http.exchange import Record
from llamacli.server.metrics import Metrics
from llamacli.server.models.pool import ModelPool, PoolParams
from llamacli.server.models.spec import ModelSpec
from llamacli.server.security.clients import Clients
from llamacli.server.security.origin import OriginRules
from llamacli.server.state import ServerState
from llamacli.store.api_keys import ApiKey, digest_of, read_keys
from llamacli.store.files import paths
from llamacli.store.models.references import is_path
from llamacli.store.models.resolve import names_of

AUTO_PARALLEL = (4, 2, 1)
"""Answers at once that `auto` tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The options of the command, by the names of its parameters."""

    model: ServedModelOptions
    draft: DraftModelOptions
    projector: ProjectorOptions
    listen: ListenOptions
    access: AccessOptions
    load: LoadOptions
    log: LogOptions
    context: ContextOptions
    prompt_cache: PromptCacheOptions
    sampling: SamplingOptions
    chat_template: str | None


def make_state(app: AppContext, setup: Setup, line: Reread) -> ServerState:
    """Return the state of a server. No model is loaded yet.

    Raises:
        UsageError, SettingsError: if options are wrong or cannot be used together.
    """
    specs = model_specs(app, setup, line)
    clients = Clients(read_all_keys(setup.access), setup.access.rate_limit)
    child = setup.model.child()
    opener = partial(local.open_backend, child=setup.prompt_cache.child(child))
    return ServerState(
        pool=ModelPool(specs, opener, local.fits_memory, pool_params(setup.load)),
        clients=clients,
        origin=origin_rules(setup, has_keys=clients.has_keys),
        metrics=Metrics(),
        batches=open_batches(app),
        decoder=child,
        log=make_log(app, setup.log),
        keeps_prompts=setup.log.log_prompts,
        drain=setup.load.drain,
    )


def reload(app: AppContext, state: ServerState, setup: Setup, line: Reread) -> None:
    """Read the settings and the keys again, for requests that come from now on. An error changes nothing.

    What a server has only once stays: where it listens, and how the processes of models are confined.

    Raises:
        UsageError, SettingsError: if settings or keys are wrong.
    """
    values = line(app=app)
    fresh = Setup(**{field.name: values[field.name] for field in dataclasses.fields(Setup)})
    specs, keys = model_specs(app, fresh, line), read_all_keys(fresh.access)
    if state.clients.has_keys and not keys:
        raise UsageError("without keys anybody could use a server that has had keys", hint="restart it")
    state.clients.replace(keys, fresh.access.rate_limit)
    state.pool.replace(specs, pool_params(fresh.load))
    state.origin = origin_rules(dataclasses.replace(fresh, listen=setup.listen), has_keys=bool(keys))
    state.log, state.keeps_prompts, state.drain = make_log(app, fresh.log), fresh.log.log_prompts, fresh.load.drain


def pool_params(load: LoadOptions) -> PoolParams:
    """Return the options of the pool of models."""
    return PoolParams(queue=load.queue, keep_alive=load.keep_alive, most=load.max_models)


def open_batches(app: AppContext) -> BatchStore | None:
    """Return the files and batches of this user; None if another server has them, or they cannot be kept."""
    store = BatchStore(paths.data_dir() / "server")
    try:
        if store.hold():
            return store
        reason = "another server of this user has them"
    except OSError as error:
        reason = f"{paths.data_dir()}: {error.strerror}"
    app.console.note(f"no files and batches: {reason}")
    return None


def read_all_keys(access: AccessOptions) -> list[ApiKey]:
    """Return the keys of the options and of the file. Raises UsageError, SettingsError."""
    if not all(len(key) >= 8 for key in access.api_key):
        raise UsageError("--api-key must have at least 8 characters", hint="`llamacli serve key new NAME` makes a random one")
    given = [ApiKey(name=f"key {number}", digest=digest_of(key)) for number, key in enumerate(access.api_key, start=1)]
    return [*given, *(read_keys(access.api_keys_file) if access.api_keys_file is not None else ())]


def origin_rules(setup: Setup, *, has_keys: bool) -> OriginRules:
    """Return the names of this server. With keys any name will do: a page that guesses one has no key."""
    hosts = tuple(name.lower() for name in setup.access.allowed_host)
    if has_keys and not hosts:
        hosts = ("*",)
    if setup.listen.socket is not None:
        hosts = ("*",)  # no page of the web reaches a unix socket
    origins = tuple(origin.rstrip("/").lower() for origin in setup.access.cors_origin)
    return OriginRules(hosts=(*hosts, setup.listen.host.lower()), origins=origins)


def make_log(app: AppContext, options: LogOptions) -> Callable[[Record], None]:
    """Return what writes the line of each request."""
    form = format_json if options.log_json else format_text

    def log(record: Record) -> None:
        app.console.write_error(form(record) + "\n")

    return log


# --- models ---------------------------------------------------------------------------------------------------------------


def model_specs(app: AppContext, setup: Setup, line: Reread) -> list[ModelSpec]:
    """Return the models, each with its own settings. Raises UsageError if two have one name."""
    aliases = settings.current().aliases()
    references: Sequence[str | None] = setup.model.model or named_models() or (None,)
    specs = [_spec(app, setup, line, reference, aliases) for reference in references]
    taken: set[str] = set()
    for spec in specs:
        if spec.name in taken:
            raise UsageError(f"two models have the name {spec.name}", hint="an alias in the settings gives one another name")
        taken.add(spec.name)
    own = {spec.name for spec in specs}
    return [dataclasses.replace(spec, aliases=tuple(name for name in spec.aliases if name not in own)) for spec in specs]


def named_models() -> tuple[str, ...]:
    """Return the models that have settings of their own."""
    names = (name for file in settings.current().files for name in file.data.get("models", {}))
    return tuple(dict.fromkeys(names))


def _spec(app: AppContext, setup: Setup, line: Reread, reference: str | None, aliases: Mapping[str, str]) -> ModelSpec:
    own = _own_options(app, setup, line, reference)
    context = own.context.params(n_seq_max=own.load.parallel or AUTO_PARALLEL[0], invariant=True)
    names = names_of(reference, aliases)
    name = Path(names[0]).stem if is_path(names[0]) else names[0]
    return ModelSpec(
        name=name,
        aliases=tuple(other for other in dict.fromkeys((*names, *(Path(one).stem for one in names))) if other != name),
        find=lambda: app.find_model(app, reference, offline=own.model.offline),
        find_projector=lambda path: own.projector.find(app, path, reference, offline=own.model.offline),
        add_draft=lambda params: own.draft.params(app, params, offline=own.model.offline),
        draft=(own.draft.model_draft, own.draft.gpu_layers_draft, own.draft.mtp),
        projector=own.projector.mmproj if own.projector.mmproj_auto else "",
        model=dataclasses.replace(own.model.params(), image_max_tokens=own.projector.image_max_tokens),
        context=context,
        sampling=_sampling(own.sampling),
        template=own.chat_template,
        fewer_sequences=AUTO_PARALLEL[1:] if own.load.parallel is None else (),
    )


def _own_options(app: AppContext, setup: Setup, line: Reread, reference: str | None) -> Setup:
    """The options with the settings of one model."""
    if reference is None:
        return setup

    def read_defaults(environ: Mapping[str, str], options: Any, given: Mapping[str, Any]) -> Mapping[str, object]:
        return app.read_defaults(environ, options, {**given, "model": reference})

    values = line(app=dataclasses.replace(app, read_defaults=read_defaults))
    return Setup(**{field.name: values[field.name] for field in dataclasses.fields(Setup)})


def _sampling(options: SamplingOptions) -> Callable[[SamplingParams], SamplingParams]:
    options.params()  # check them now
    return options.params
