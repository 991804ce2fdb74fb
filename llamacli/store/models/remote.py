"""Headers of remote models: `https://` and `hf:` references, read by HTTP range requests without downloading the model."""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from llamacli.errors import DownloadError
from llamacli.gguf.header import Header
from llamacli.gguf.model import ModelFiles, gather
from llamacli.gguf.parser.header import read_header
from llamacli.gguf.remote import Allowance, RangeSource
from llamacli.store.files import paths
from llamacli.store.models.download import StatusError, open_url
from llamacli.store.models.references import LOOPBACK, expand_alias
from llamacli.store.models.split import part_names

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """The URLs of a model's files, in order, and the request headers. `plain_http` permits a mirror without TLS."""

    addresses: tuple[str, ...]
    headers: Mapping[str, str]
    plain_http: bool = False


def find_remote(
    reference: str | None, *, aliases: Mapping[str, str] | None = None, offline: bool = False
) -> RemoteModel | None:
    """Locate a model on its server; None if it is on this machine or has no remote source.

    Raises UsageError, SettingsError, ModelNotFoundError or DownloadError.
    """
    target = expand_alias(reference, aliases or {}) if reference else ""
    if offline or paths.offline_requested() or not target.startswith(("hf:", "https://", "http://")):
        return None
    from llamacli.store.models import hub, web

    if not target.startswith("hf:"):
        if not (hub_reference := web.hub_reference(target)):
            return _on_the_web(target)
        target = hub_reference
    parsed = hub.parse(target)
    if hub.cached(parsed):
        return None
    addresses, headers = hub.locate(parsed)
    return RemoteModel(addresses, headers, plain_http=True)


def read_remote(model: RemoteModel) -> tuple[ModelFiles, list[RangeSource]]:
    """The headers of a model's files, and the sources with the bytes received.

    Raises DownloadError if a server does not respond or does not support ranges, and the errors of `read_header`.
    """
    allowance = Allowance()
    sources: list[RangeSource] = []

    def read(address: str) -> Header:
        name = unquote(urlsplit(address).path).rpartition("/")[2] or address
        source = RangeSource(name, lambda start, end: _fetch(model, address, start, end), allowance, later_part=bool(sources))
        sources.append(source)
        return read_header(source)

    return gather(model.addresses, read), sources


def _on_the_web(address: str) -> RemoteModel | None:
    from llamacli.store.models import web

    stored = web.locate(address)
    if all(stored.path.with_name(name).is_file() for name in part_names(stored.path.name)):
        return None
    parts = urlsplit(address)
    folder, _, name = parts.path.rpartition("/")
    wanted = [f"{folder}/{quote(part)}" for part in part_names(unquote(name))]
    if len(wanted) == 1:
        wanted = [quote(parts.path, safe="/%:@!$&'()*+,;=~")]
    addresses = tuple(urlunsplit(parts._replace(path=path, fragment="")) for path in wanted)
    return RemoteModel(addresses, {}, plain_http=parts.hostname in LOOPBACK)


def _fetch(model: RemoteModel, address: str, start: int, end: int) -> tuple[bytes, int]:
    """The bytes from `start` to `end`, exclusive, and the size of the whole file."""
    host = urlsplit(address).hostname
    try:
        with open_url(address, {**model.headers, "Range": f"bytes={start}-{end - 1}"}, plain_http=model.plain_http) as answer:
            if answer.status == 200 and start == 0:
                return _beginning(answer, end)
            sent = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if answer.status != 206 or not sent or int(sent[1]) != start or int(sent[2]) >= end:
                hint = "download the model with `llamacli models pull`"
                raise DownloadError(f"{host} does not support range requests", hint=hint)
            return _read(answer, end - start), int(sent[3])
    except StatusError as error:
        if error.status == 416:
            raise DownloadError(f"{address} is empty, or changed while it was read", hint="try again") from error
        raise
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"connection to {host} lost: {error}", hint="check the network, and try again") from error


def _beginning(answer: http.client.HTTPResponse, end: int) -> tuple[bytes, int]:
    """The beginning of a file from a server that ignores ranges: enough for small files and for error messages."""
    length = answer.headers.get("Content-Length", "")
    data = _read(answer, end)
    size = int(length) if length.isdecimal() else len(data)
    return data, max(size, len(data))


def _read(answer: http.client.HTTPResponse, length: int) -> bytes:
    pieces = []
    while length > 0 and (piece := answer.read(length)):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)
