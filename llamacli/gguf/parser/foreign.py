"""Recognition of files that are not GGUF."""

from __future__ import annotations

_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive, or a PyTorch checkpoint", "convert it to GGUF first"),
    (b"\x80\x02", "a Python pickle, such as an old PyTorch checkpoint", "convert it to GGUF first"),
    (b"lmgg", "an old GGML file (ggml)", "convert the model again, or download a GGUF file"),
    (b"fmgg", "an old GGML file (ggmf)", "convert the model again, or download a GGUF file"),
    (b"tjgg", "an old GGML file (ggjt)", "convert the model again, or download a GGUF file"),
    (b"algg", "an old GGML adapter (ggla)", "convert the adapter again"),
    (b"version https://git-lfs", "a Git LFS pointer, not the model itself", "download the model with git lfs pull"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    (b"BZh", "compressed with bzip2", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it first"),
    (b"\x89HDF", "an HDF5 file", "convert it to GGUF first"),
    (b"TDF3", "an old tensor file (TDF3)", "convert it to GGUF first"),
    (b"FUGG", "a GGUF file with its bytes swapped", "copy or convert it again"),
)


def describe_foreign(head: bytes, size: int) -> tuple[str, str | None]:
    """Return the kind of a file by its first bytes, and a hint about what to do."""
    if size == 0:
        return "the file is empty", "download or copy it again"
    if b"GGUF".startswith(head[:4]) and size < 4:
        return f"the file ends at byte {size}, inside the magic number", "it is truncated: download or copy it again"
    for signature, what, hint in _SIGNATURES:
        if head.startswith(signature):
            return f"not a GGUF file, but {what}", hint
    if _is_safetensors(head, size):
        return "not a GGUF file, but safetensors", "convert it with llama.cpp's convert_hf_to_gguf.py"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "not a GGUF file, but a web page", "the download URL was wrong, or needs a login"
    if not head.strip(b"\0"):
        return "not a GGUF file: it begins with zeros", "the download is incomplete: start it again"
    if text.startswith((b"{", b"[")):
        return "not a GGUF file, but JSON text", "name the .gguf file"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return "not a GGUF file, but text", "name the .gguf file"
    return f"not a GGUF file: at byte 0: found {head[:4].hex(' ')}, expected 47 47 55 46 (GGUF)", None


def _is_safetensors(head: bytes, size: int) -> bool:
    """Return whether the bytes are those of safetensors: the length of a JSON object in 8 bytes, then the object."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") + 8 <= size
