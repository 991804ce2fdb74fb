"""Saved states: the evaluated tokens of a sequence and their KV cache, in a checksummed container.

llama.cpp silently accepts some altered state files and aborts on others. So a state reaches it only if the checksum over the
whole file is right and the fingerprint matches model, build and cache types.

Layout: the magic line; a line of JSON (`version, fingerprint, tokens, payload, sha256`), the token ids as little-endian
int32, the payload. `sha256` covers fingerprint, tokens and payload.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tempfile
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from llamacli.binding.library import library
from llamacli.engine.runtime.context import Context
from llamacli.errors import ContextFullError, InvalidJSONError, StateError
from llamacli.json_text import parse_json

MAGIC = b"llamacli-state\n"
VERSION = 1
_LONGEST_HEADER = 4096
_SAMPLES = 64
_CHUNK = 16 << 20


@dataclass(frozen=True, slots=True)
class State:
    """The tokens of a sequence and their KV cache, as llama.cpp serializes it."""

    fingerprint: str
    tokens: tuple[int, ...]
    payload: bytes

    def digest(self) -> str:
        """Return the SHA-256 of fingerprint, tokens and payload, in hexadecimal."""
        return hashlib.sha256(self.fingerprint.encode() + _packed(self.tokens) + self.payload).hexdigest()


def fingerprint(context: Context) -> str:
    """Return a digest of what a state and a context must share: model, build, cache types, RoPE settings."""
    params, model = context.params, context.model
    adapters = [(lora.scale, model_digest(Path(lora.path))) for lora in model.params.loras]
    parts = [
        library().build["commit"], model_digest(model.path), adapters, params.cache_type_k, params.cache_type_v,
        params.flash_attention, params.rope_scaling, params.rope_freq_base, params.rope_freq_scale, params.yarn_orig_ctx,
        params.swa_full, context.is_invariant,
    ]  # fmt: skip
    yarn = [params.yarn_ext_factor, params.yarn_attn_factor, params.yarn_beta_fast, params.yarn_beta_slow]
    if any(factor >= 0 for factor in yarn) or model.params.overrides:
        parts += [yarn, model.params.overrides]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def model_digest(path: Path) -> str:
    """Return a digest of a model file's size and 64 samples of 4 KiB, both ends included."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for i in range(_SAMPLES):
            file.seek((size - 4096) * i // (_SAMPLES - 1) if size > 4096 else 0)
            digest.update(file.read(4096))
    return digest.hexdigest()


def capture(context: Context, sequence: int, tokens: list[int]) -> State:
    """Return the state of one sequence, whose cache holds `tokens`."""
    return State(fingerprint(context), tuple(tokens), context.save_sequence(sequence))


def restore(context: Context, sequence: int, state: State) -> None:
    """Restore a state into a sequence of the cache.

    Raises:
        StateError: if it belongs to another model, build or context.
        ContextFullError: if it has more tokens than the context holds.
    """
    if state.fingerprint != fingerprint(context):
        raise StateError("the saved state belongs to another model, build or cache type")
    if len(state.tokens) > context.n_ctx:
        raise ContextFullError(
            f"the saved state has {len(state.tokens)} tokens, the context holds {context.n_ctx}",
            needed=len(state.tokens),
            available=context.n_ctx,
            hint=f"use n_ctx={len(state.tokens) + 256} or more",
            parameter="n_ctx",
        )
    context.model.vocabulary.check_ids(state.tokens)
    context.forget(sequence)
    context.restore_sequence(sequence, state.payload)


def pack(state: State) -> bytes:
    """Serialize a state."""
    header = {
        "version": VERSION,
        "fingerprint": state.fingerprint,
        "tokens": len(state.tokens),
        "payload": len(state.payload),
        "sha256": state.digest(),
    }
    return b"".join((MAGIC, json.dumps(header).encode(), b"\n", _packed(state.tokens), state.payload))


def unpack(data: bytes, name: str = "the saved state") -> State:
    """Deserialize what `pack` returned. `name` is used in messages.

    Raises:
        StateError: if it is something else, truncated or altered.
    """
    return _read(io.BytesIO(data), name, len(data))


def _read(file: IO[bytes], name: str, length: int | None) -> State:
    """Read the state in a file of `length` bytes, or in a pipe (None), which is read no further than the header announces."""
    if file.read(len(MAGIC)) != MAGIC:
        raise StateError(f"{name} is not a saved state of llamacli")
    line = file.readline(_LONGEST_HEADER)
    try:
        header = parse_json(line)
        version, count, size = header["version"], int(header["tokens"]), int(header["payload"])
        expected, made_by = str(header["sha256"]), str(header["fingerprint"])
    except (InvalidJSONError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"{name} has a corrupt header") from error
    if version != VERSION:
        raise StateError(f"{name} has format version {version}; this program reads version {VERSION}")
    announced = 4 * count + size
    found = announced if length is None else length - len(MAGIC) - len(line)
    tokens, payload = b"", b""
    if count >= 0 and size >= 0 and found == announced:
        tokens, payload = _taken(file, 4 * count), _taken(file, size)
        found = len(tokens) + len(payload) + len(file.read(1))
    if count < 0 or size < 0 or found != announced:
        raise StateError(f"{name} is truncated or has trailing data: {announced} bytes expected, {found} found")
    state = State(made_by, _unpacked(tokens), payload)
    if state.digest() != expected:
        raise StateError(f"{name} is corrupt: its checksum does not match")
    return state


def _taken(file: IO[bytes], count: int) -> bytes:
    """Read up to `count` bytes in chunks, so that a false count takes no more memory than the file has bytes."""
    chunks = []
    while count > 0 and (chunk := file.read(min(count, _CHUNK))):
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def write(path: Path, state: State) -> None:
    """Write a file atomically, readable by its owner only. Symbolic links are followed; devices are written to.

    Raises:
        OSError: if it cannot be written; `filename` is the path.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            target.write_bytes(pack(state))
        else:
            _replace(target, pack(state))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(target: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read(path: Path) -> State:
    """Read and verify a file. A file of another kind is rejected by its first bytes.

    Raises:
        StateError: if it is missing, not a state file, truncated or altered.
    """
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            return _read(file, f"the saved state {path}", about.st_size if stat.S_ISREG(about.st_mode) else None)
    except OSError as error:
        raise StateError(f"cannot read the saved state {path}: {error.strerror}") from error


def _packed(tokens: tuple[int, ...]) -> bytes:
    packed = array("i", tokens)
    if _BIG_ENDIAN:
        packed.byteswap()
    return packed.tobytes()


def _unpacked(data: bytes) -> tuple[int, ...]:
    packed = array("i", data)
    if _BIG_ENDIAN:
        packed.byteswap()
    return tuple(packed)


_BIG_ENDIAN = array("H", [1]).tobytes() == b"\x00\x01"
