"""Resumable, verified downloads over HTTP, with retries and progress. Standard library only.

The file grows under a temporary name, which survives an interruption; the caller publishes it when `transfer` returns.
A resumed download requests the rest with `Range` (RFC 9110, section 14), and `If-Range` if the server sent a validator.
"""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from llamacli.errors import DownloadError
from llamacli.store.files.atomic import CHUNK, content_mismatch, disk_errors, require_space
from llamacli.store.files.progress import OnProgress, Progress
from llamacli.store.models.references import LOOPBACK

TIMEOUT_SECONDS = 30.0
"""Seconds a server may stay silent."""
RETRY_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts. An attempt that receives at least a mebibyte resets the sequence."""
MAGIC = b"GGUF"


class StatusError(DownloadError):
    """The server responded with an HTTP error. `status` is its code, `headers` are the response's."""

    def __init__(self, message: str, *, status: int, headers: Message, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file to download. `size` in bytes, `sha256` and `git_sha1` (git's hash of a blob) are verified if known.

    `plain_http` permits a URL without TLS, for a mirror that the user configured. Loopback hosts are always permitted.
    """

    url: str
    label: str
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None
    plain_http: bool = False


def transfer(source: Source, part: Path, on_progress: OnProgress) -> None:
    """Complete `part`, which may hold a beginning of `source`. Raises DownloadError, StatusError for HTTP errors."""
    resumed = part.exists() and part.stat().st_size > 0
    _complete(source, part, on_progress)
    if _verify(source, part):
        return
    part.unlink()
    if resumed:  # an earlier run may have left other content under this name: retry from the start
        _complete(source, part, on_progress)
        if _verify(source, part):
            return
        part.unlink()
    raise content_mismatch(source.label)


def open_url(url: str, headers: Mapping[str, str], *, plain_http: bool = False) -> http.client.HTTPResponse:
    """Send a GET request, follow redirects and return the response. Raises DownloadError, StatusError for HTTP errors."""
    address = urlsplit(url)
    if address.scheme != "https" and not (address.scheme == "http" and (plain_http or address.hostname in LOOPBACK)):
        raise DownloadError(f"{url} is not an https:// address", hint="models are downloaded over https only")
    own = {"User-Agent": "llamacli", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers={**own, **headers})  # noqa: S310 - the scheme has just been checked
    handlers = [_Redirects(), urllib.request.HTTPSHandler(context=tls_context())]
    try:
        answer: http.client.HTTPResponse = urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        message = f"{url}: the server responded {error.code} {error.reason}"
        raise StatusError(message, status=error.code, headers=error.headers) from error
    except DownloadError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        message = f"cannot reach {address.hostname}: {_reason(error)}"
        raise _TransientError(message, hint="check the network and any proxy") from error
    return answer


class _TransientError(DownloadError):
    """A failure of the connection that a retry may overcome."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects that neither send credentials to another host nor downgrade https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("https", old.scheme):
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is not https", hint="nothing was downloaded")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            following.remove_header("Authorization")
        return following


def tls_context() -> ssl.SSLContext:
    """A context with the system's certificates or, without any (python.org's Python on macOS), those of certifi."""
    context = ssl.create_default_context()
    found = ssl.get_default_verify_paths()
    if not any((found.cafile, found.capath, context.get_ca_certs())):
        try:
            import certifi
        except ImportError:
            return context
        context.load_verify_locations(certifi.where())
    return context


def _complete(source: Source, part: Path, on_progress: OnProgress) -> None:
    """Request the missing bytes, retrying after transient failures, until none are missing."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        if source.size is not None and before >= source.size:
            return
        try:
            _attempt(source, part, on_progress)
            return
        except (_TransientError, StatusError) as error:
            if isinstance(error, StatusError) and not (error.status in (408, 429) or error.status >= 500):
                raise
            gained = (part.stat().st_size if part.exists() else 0) >= before + CHUNK
            failures = 1 if gained else failures + 1
            if failures > len(RETRY_DELAYS):
                raise
            time.sleep(_delay(error, RETRY_DELAYS[failures - 1]))


def _attempt(source: Source, part: Path, on_progress: OnProgress) -> None:
    """Send one request. Returns when the file is complete; raises _TransientError if the connection ends too early."""
    validator = part.with_name(part.name + ".etag")
    start = part.stat().st_size if part.exists() else 0
    if not (validator.exists() or source.sha256 or source.git_sha1):
        start = 0  # without a validator or a hash, the server's file may have changed unnoticed
    headers = dict(source.headers)
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator.exists():
            headers["If-Range"] = validator.read_text(encoding="utf-8")
    try:
        answer = open_url(source.url, headers, plain_http=source.plain_http)
    except StatusError as error:
        if error.status != 416 or not start:
            raise
        part.unlink()  # longer than the server's file, so a different one
        raise _TransientError(f"{source.label}: the file has changed on the server") from error
    with answer, disk_errors(part):
        start = start if answer.status == 206 else 0
        total = _total(answer, start, source)
        _save_validator(validator, answer.headers)
        if total is not None:
            require_space(part.parent, total - start, source.label)
        with part.open("r+b" if start else "wb") as out:
            out.seek(start)
            out.truncate()
            _receive(answer, out, source, start, total, on_progress)
    validator.unlink(missing_ok=True)


def _receive(
    answer: http.client.HTTPResponse, out: IO[bytes], source: Source, start: int, total: int | None, on_progress: OnProgress
) -> None:
    done = start
    on_progress(Progress(source.label, done, total, Path(out.name).parent))
    while total is None or done < total:
        try:
            # read1 returns the bytes received so far: slow servers show progress, and a lost connection loses nothing
            chunk = answer.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _TransientError(f"{source.label}: connection lost after {done:,} bytes: {_reason(error)}") from error
        if not chunk:
            break
        if done == 0 and not MAGIC.startswith(chunk[:4]):
            raise _not_a_model(source, chunk)
        out.write(chunk)
        done += len(chunk)
        on_progress(Progress(source.label, done, total))
    if total is not None and done != total:
        message = f"{source.label}: connection lost after {done:,} of {total:,} bytes"
        raise _TransientError(message, hint="run it again to resume")


def _total(answer: http.client.HTTPResponse, start: int, source: Source) -> int | None:
    """The length of the complete file in bytes, None if unknown. Raises DownloadError if the response contradicts it."""
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise DownloadError(f"{source.label}: the server sent a compressed response, which was not requested")
    length = answer.headers.get("Content-Length")
    total = start + int(length) if length and length.isdecimal() else None
    if answer.status == 206:
        content_range = answer.headers.get("Content-Range", "")
        if not content_range.startswith(f"bytes {start}-"):
            range_sent = content_range or "no Content-Range"
            raise DownloadError(f"{source.label}: the server did not resume at byte {start:,} ({range_sent})")
    if source.size is not None and total not in (None, source.size):
        if answer.headers.get_content_type() == "text/html":
            raise _not_a_model(source, b"<")
        message = f"{source.label}: the server offers {total:,} bytes, expected {source.size:,}"
        raise DownloadError(message, hint="try again later")
    return source.size if source.size is not None else total


def _not_a_model(source: Source, beginning: bytes) -> DownloadError:
    if beginning.lstrip()[:1] == b"<":
        hint = "a login page or a proxy may be in the way; give the address of the file itself"
        return DownloadError(f"{source.label}: {source.url} returned a web page, not a model", hint=hint)
    return DownloadError(f"{source.label}: {source.url} is not a GGUF file", hint="give the address of the file itself")


def _verify(source: Source, part: Path) -> bool:
    """Return whether the file has the size and hash of `source`, as far as they are known."""
    size = part.stat().st_size
    if source.size is not None and size != source.size:
        return False
    expected = source.sha256 or source.git_sha1
    if expected is None:
        return True
    digest = hashlib.sha256() if source.sha256 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with part.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == expected.lower()


def _save_validator(validator: Path, headers: HTTPMessage) -> None:
    """Save the server's validator of this version of the file. Weak ones do not identify bytes (RFC 9110, section 8.8.1)."""
    etag = headers.get("ETag")
    name = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
    if name:
        validator.write_text(name, encoding="utf-8")
    else:
        validator.unlink(missing_ok=True)


def _delay(error: DownloadError, otherwise: float) -> float:
    retry_after = error.headers.get("Retry-After", "") if isinstance(error, StatusError) else ""
    return min(float(retry_after), 60.0) if retry_after.isdecimal() else otherwise


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return getattr(reason, "strerror", None) or str(reason) or type(error).__name__
