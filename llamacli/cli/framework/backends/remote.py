"""The servers of `--url`, from the options and the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ModelOptions, RemoteOptions
from llamacli.cli.framework.spellings.wording import flag_of
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.backend.remote.client import Client
    from llamacli.backend.remote.engine import RemoteEngine

_FLAGS = {
    "reasoning": "--reasoning",
    "reasoning_budget": "--reasoning-budget",
    "grammar": "this grammar",
    "logprobs": "--logprobs",
}


def open_remote(app: AppContext, remote: RemoteOptions, model: ModelOptions, *, strict: bool = False) -> RemoteEngine:
    """Return the engine behind the addresses. `strict`: what a server cannot do is an error, not a warning.

    Raises:
        UsageError: if an address or a key cannot be used, or the server refuses the key.
        RemoteError, ModelNotFoundError: if there is no server, or no model.
    """
    from llamacli.backend.remote.access import closed_on_error
    from llamacli.backend.remote.engine import RemoteEngine
    from llamacli.store.files import paths
    from llamacli.store.serving.server_fields import ServerFields

    def on_lack(parameter: str) -> None:
        flag = _FLAGS.get(parameter) or flag_of(parameter)
        if strict:
            raise UsageError(f"the server cannot use {flag}", hint="without --strict it is left out")
        app.console.warn(f"the server cannot use {flag}: it is left out")

    clients = open_clients(app, remote, model.engine_timeout)
    with closed_on_error(clients):
        return RemoteEngine(clients, remote_name(model.model), on_lack, ServerFields(paths.cache_dir() / "servers.json"))


def open_clients(app: AppContext, remote: RemoteOptions, patience: float) -> list[Client]:
    """Return a client for each address, which bears `patience` seconds of silence. Raises UsageError."""
    from llamacli.backend.remote.access import clients_of

    return clients_of(remote.url, remote.key, app.console.environ, insecure=remote.insecure, patience=patience)


def remote_name(reference: str | None) -> str | None:
    """Return the name of a model on the server: aliases of the settings count there, too."""
    if reference is None:
        return None
    from llamacli.cli.framework.settings import settings
    from llamacli.store.models.references import alias_chain

    return alias_chain(reference, settings.current().aliases())[-1]
