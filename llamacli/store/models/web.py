"""Models at plain https:// URLs, downloaded into llamacli's own store:

    models/web/HOST/HASH/NAME.gguf       HASH is derived from the address
    models/web/HOST/HASH/address         the address, for `models list`

A checksum at the end of the address, `#sha256=HEX` as in pip's URLs, is verified.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit

from llamacli.errors import DownloadError, UsageError
from llamacli.store.files import paths
from llamacli.store.files.atomic import disk_errors, exclusive, publish
from llamacli.store.files.progress import OnProgress
from llamacli.store.models.references import LOOPBACK
from llamacli.store.models.split import part_names

ADDRESS_NAME = "address"
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_HUB_PATH = re.compile(r"/(?P<repo>[^/]+/[^/]+)(?:/(?:resolve|blob)/(?P<revision>[^/]+)/(?P<file>.+))?/?")


@dataclass(frozen=True, slots=True)
class WebModel:
    """A model at `address`, and the path of its downloaded copy."""

    address: str
    path: Path


def hub_reference(address: str) -> str | None:
    """The `hf:` reference of a page or file of the Hugging Face hub, which has its own cache; None for other addresses."""
    parts = urlsplit(address)
    if parts.hostname not in _HUB_HOSTS or parts.scheme != "https" or parts.fragment:
        return None
    match = _HUB_PATH.fullmatch(unquote(parts.path))
    if not match:
        return None
    file = f":{match['file']}" if match["file"] else ""
    revision = f"@{match['revision']}" if match["revision"] and match["revision"] != "main" else ""
    return f"hf:{match['repo']}{revision}{file}"


def locate(address: str) -> WebModel:
    """The location of the model at `address` in the store, downloaded or not. Raises UsageError for an invalid address."""
    parts = urlsplit(address)
    name = unquote(parts.path).rpartition("/")[2]
    if not parts.hostname or (parts.scheme != "https" and parts.hostname not in LOOPBACK):
        raise UsageError(f"invalid model address {address}", hint="write https://host/path/model.gguf")
    if part_names(name)[0] != name:
        raise UsageError(f"{address} is not the first part of a split model", hint="give the address of the first part")
    clean = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII).strip(".")[-100:] or "model"
    clean = clean if clean.lower().endswith(".gguf") else clean + ".gguf"
    host = re.sub(r"[^\w.-]", "_", parts.netloc.rpartition("@")[2], flags=re.ASCII)
    key = hashlib.sha256(urlunsplit(parts._replace(fragment="")).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return WebModel(address, paths.models_dir() / "web" / f"_{host}" / key / clean)


def fetch(address: str, *, offline: bool, on_progress: OnProgress, refresh: bool = False) -> Path:
    """The model's file, downloaded if it is missing or `refresh` is set. Raises UsageError or DownloadError."""
    model = locate(address)
    names = part_names(model.path.name)
    if not refresh and all(model.path.with_name(name).is_file() for name in names):
        return model.path
    if offline:
        raise DownloadError(
            f"{address} is not on this machine, and --offline or HF_HUB_OFFLINE forbids downloading it",
            hint=f"run `llamacli models pull {address}` while online",
        )
    sha256 = _expected_hash(address)
    if sha256 and len(names) > 1:
        raise UsageError(f"{address}: #sha256= cannot verify a model of {len(names)} files", hint="leave it out")
    with exclusive(model.path, on_progress):
        for name in names:
            target = model.path.with_name(name)
            if refresh or not target.is_file():
                _fetch_file(_sibling(address, name if len(names) > 1 else None), target, sha256, on_progress)
        note = model.path.with_name(ADDRESS_NAME)
        with disk_errors(note):
            note.write_text(address, encoding="utf-8", errors="surrogateescape")
    return model.path


def stored() -> list[WebModel]:
    """The completely downloaded models."""
    found = []
    for note in sorted((paths.models_dir() / "web").glob(f"*/*/{ADDRESS_NAME}")):
        try:
            model = locate(note.read_text(encoding="utf-8", errors="surrogateescape"))
        except (OSError, UsageError):
            continue
        if all(model.path.with_name(name).is_file() for name in part_names(model.path.name)):
            found.append(model)
    return found


def _fetch_file(address: str, target: Path, sha256: str | None, on_progress: OnProgress) -> None:
    from llamacli.gguf.check.loadable import check_file
    from llamacli.store.models.download import Source, transfer  # deferred: listing stored models needs no network

    part = target.with_name(f".{target.name}.incomplete")
    parts = urlsplit(address)
    url = urlunsplit(parts._replace(path=quote(parts.path, safe="/%:@!$&'()*+,;=~"), fragment=""))
    transfer(Source(url=url, label=f"downloading {target.name}", sha256=sha256), part, on_progress)
    check_file(part)
    publish(part, target)


def _sibling(address: str, name: str | None) -> str:
    """The address of another part of the same split model, in the same folder."""
    if name is None:
        return address
    parts = urlsplit(address)
    return urlunsplit(parts._replace(path=f"{parts.path.rpartition('/')[0]}/{name}"))


def _expected_hash(address: str) -> str | None:
    values = parse_qs(urlsplit(address).fragment).get("sha256")
    if not values:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", values[-1]):
        raise UsageError(f"{address}: sha256 must have 64 hexadecimal digits")
    return values[-1].lower()
