"""How servers are reached: their keys and proxies, from references and from the environment of the caller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from llamacli.backend.remote.address import Address, parse_address
from llamacli.backend.remote.client import Client
from llamacli.backend.remote.secret import Secret
from llamacli.backend.remote.transport import PATIENCE, Access, check_access
from llamacli.errors import UsageError

KEY_VARIABLE = "LLAMACLI_API_KEY"
_MOST_KEY_BYTES = 1 << 16


def clients_of(
    urls: Iterable[str], key: str | None, environ: Mapping[str, str], *, insecure: bool, patience: float = PATIENCE
) -> list[Client]:
    """Return a client for each address, which bears `patience` seconds of silence. `key` says where the key is: see `read_key`.

    Raises:
        UsageError: if an address or the key cannot be used, or the key would be sent unencrypted without `insecure`.
    """
    secret = read_key(key, environ)
    clients = []
    for address in dict.fromkeys(map(parse_address, urls)):
        access = Access(secret=secret, proxy=proxy_for(address, environ), patience=patience)
        check_access(address, access, insecure=insecure)
        clients.append(Client(address, access))
    return clients


@contextmanager
def closed_on_error(clients: Sequence[Client]) -> Iterator[None]:
    """Close the clients if the block raises: what it builds would have closed them."""
    try:
        yield
    except BaseException:
        for client in clients:
            client.close()
        raise


def read_key(reference: str | None, environ: Mapping[str, str]) -> Secret | None:
    """Return the key that a reference names, else that of LLAMACLI_API_KEY, else None. Raises UsageError."""
    if reference is None:
        value = environ.get(KEY_VARIABLE)
        return Secret(value, KEY_VARIABLE) if value else None
    kind, _, place = reference.partition(":")
    if kind == "env":
        if place not in environ:
            raise UsageError(f"cannot read the key: the environment has no variable {place}")
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
        raise UsageError(f"cannot read the key: {path}: {reason}") from None


def _read_keyring(service: str) -> str:
    """The password that the system's key ring has for llamacli under a name."""
    try:
        import keyring  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise UsageError(
            "cannot read the key: the package keyring is not installed", hint="pip install keyring, or use env: or file:"
        ) from None
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
