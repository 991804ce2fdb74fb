"""The servers of `--url`: their addresses, keys and proxies, from the options and the environment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ModelOptions, RemoteOptions
from llamacli.cli.framework.wording import flag_of
from llamacli.engine.params import ModelParams
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.backend.remote.address import Address
    from llamacli.backend.remote.client import Client
    from llamacli.backend.remote.engine import RemoteEngine
    from llamacli.backend.remote.secret import Secret

logger = logging.getLogger(__name__)

KEY_VARIABLE = "LLAMACLI_API_KEY"
_MOST_KEY_BYTES = 1 << 16
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
    from llamacli.backend.remote.engine import RemoteEngine

    def on_lack(parameter: str) -> None:
        flag = _FLAGS.get(parameter) or flag_of(parameter)
        if strict:
            raise UsageError(f"the server cannot use {flag}", hint="without --strict it is left out")
        app.console.warn(f"the server cannot use {flag}: it is left out")

    _note_unused(model.params())
    clients = open_clients(app, remote, model)
    try:
        return RemoteEngine(clients, remote_name(model.model), on_lack)
    except BaseException:
        for client in clients:
            client.close()
        raise


def open_clients(app: AppContext, remote: RemoteOptions, model: ModelOptions) -> list[Client]:
    """Return a client for each address. Raises UsageError."""
    from llamacli.backend.remote.address import parse_address
    from llamacli.backend.remote.client import Client
    from llamacli.backend.remote.transport import Access, check_access

    secret = read_key(remote.key, app.console.environ)
    clients = []
    for address in dict.fromkeys(map(parse_address, remote.url)):
        access = Access(secret=secret, proxy=proxy_for(address, app.console.environ), patience=model.engine_timeout)
        check_access(address, access, insecure=remote.insecure)
        clients.append(Client(address, access))
    return clients


def remote_name(reference: str | None) -> str | None:
    """Return the name of a model on the server: aliases of the settings count there, too."""
    if reference is None:
        return None
    from llamacli.cli.framework import settings
    from llamacli.store.models.references import alias_chain

    return alias_chain(reference, settings.current().aliases())[-1]


def read_key(reference: str | None, environ: Mapping[str, str]) -> Secret | None:
    """Return the key that a reference names, else that of LLAMACLI_API_KEY, else None. Raises UsageError."""
    from llamacli.backend.remote.secret import Secret

    if reference is None:
        value = environ.get(KEY_VARIABLE)
        return Secret(value, KEY_VARIABLE) if value else None
    kind, _, place = reference.partition(":")
    if kind == "env":
        if place not in environ:
            raise UsageError(f"--key: the environment has no variable {place}")
        return Secret(environ[place], place)
    if kind == "file":
        return Secret(_read_file(Path(place).expanduser()), place)
    return Secret(_read_keyring(place), reference)


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_KEY_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"--key: cannot read {path}: {reason}") from None


def _read_keyring(service: str) -> str:
    """The password that the system's key ring has for llamacli under a name."""
    try:
        import keyring  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise UsageError("--key keyring: needs the package keyring", hint="pip install keyring, or use env: or file:") from None
    value = keyring.get_password("llamacli", service)
    if value is None:
        raise UsageError(f"the key ring has no password for llamacli {service}", hint=f"keyring set llamacli {service}")
    return str(value)


def proxy_for(address: Address, environ: Mapping[str, str]) -> str | None:
    """Return the proxy that the environment sets for an address; none for this machine and for the hosts of NO_PROXY."""
    if address.is_local:
        return None

    def variable(name: str) -> str:
        return environ.get(name) or environ.get(name.upper()) or ""

    for pattern in variable("no_proxy").split(","):
        host = pattern.strip().lower().removeprefix("*").lstrip(".")
        if pattern.strip() == "*" or host in (address.host, address.authority) or (host and address.host.endswith(f".{host}")):
            return None
    proxy = variable(f"{address.scheme}_proxy") or variable("all_proxy")
    return (proxy if "://" in proxy else f"http://{proxy}") if proxy else None


def _note_unused(model: ModelParams) -> None:
    """Log the options that have no effect with a server."""
    defaults = ModelParams()
    given = [name for name in ModelParams.__slots__ if getattr(model, name) != getattr(defaults, name)]
    if given:
        logger.info("%s: no effect with --url", ", ".join(flag_of(name) for name in given))
