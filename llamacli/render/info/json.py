"""The JSON documents of `info`. Long arrays are written while they are read, so that none has to fit into memory."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from llamacli.backend.child.sandbox import SandboxReport
from llamacli.engine.fit.report import FitReport
from llamacli.engine.system import SystemReport
from llamacli.gguf.analysis.diff import Difference
from llamacli.gguf.analysis.hashes import Hashes
from llamacli.gguf.analysis.summary import Summary
from llamacli.gguf.check.finding import Finding
from llamacli.gguf.check.template import features
from llamacli.gguf.header import Entry, Header, Lazy, TensorInfo
from llamacli.gguf.layout import ValueType
from llamacli.render.info.numbers import shortest

SHORT_ARRAY = 16
"""Longest array whose elements appear in a document; with `full`, all do."""

ReadArray = Callable[[Lazy], Iterator[Any]]
"""Function that returns the elements of an array."""


class Elements:
    """A list that is written while it is read, with one line per element if `rows`."""

    def __init__(self, elements: Iterable[Any], *, rows: bool = False) -> None:
        self.elements = elements
        self.rows = rows


def encode(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield a JSON document in pieces: one line per member, and per member of an object or list in it."""
    yield from _lines("{", ((json.dumps(key), value) for key, value in document.items()), "}", indent=0)
    yield "\n"


def _lines(begin: str, members: Iterable[tuple[str | None, Any]], end: str, *, indent: int) -> Iterator[str]:
    yield begin
    separator = ""
    margin = "\n" + "  " * (indent + 1)
    for key, value in members:
        yield f"{separator}{margin}{key}: " if key is not None else f"{separator}{margin}"
        yield from _value(value, indent + 1)
        separator = ","
    yield f"\n{'  ' * indent}{end}" if separator else end


def _value(value: Any, indent: int) -> Iterator[str]:
    if isinstance(value, Elements) and value.rows:
        yield from _lines("[", ((None, item) for item in value.elements), "]", indent=indent)
    elif isinstance(value, Elements):
        elements = iter(value.elements)
        separator = "["
        while some := list(itertools.islice(elements, 1024)):
            yield separator + json.dumps(clean(some), allow_nan=False)[1:-1]
            separator = ", "
        yield "[]" if separator == "[" else "]"
    elif indent < 2 and isinstance(value, dict) and value:
        yield from _lines("{", ((json.dumps(key), item) for key, item in value.items()), "}", indent=indent)
    elif indent < 2 and isinstance(value, list) and any(isinstance(item, dict) for item in value):
        yield from _lines("[", ((None, item) for item in value), "]", indent=indent)
    else:
        yield json.dumps(clean(value), allow_nan=False)


def clean(value: Any) -> Any:
    """Return a value that JSON can hold: bytes that are not UTF-8 become U+FFFD, infinities and NaN become null."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if not value.isascii() else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value


def model_document(
    summary: Summary, location: str, header: Header, tensors: Sequence[TensorInfo], read: ReadArray, *, full: bool
) -> dict[str, Any]:
    """Return the document of a model. `read` returns the elements of an array; `full` includes those of long arrays."""
    bits = summary.bits_per_weight
    shape = summary.dimensions
    templates = dict(summary.templates)
    return {
        "path": location,
        "kind": summary.kind,
        "size": summary.size,
        "parts": summary.parts,
        "gguf_version": summary.version,
        "byte_order": summary.byte_order,
        "architecture": summary.architecture,
        "name": summary.name,
        "license": summary.licence,
        "parameters": summary.parameters,
        "size_label": summary.size_label,
        "quantization": summary.quantization,
        "bits_per_weight": round(bits, 4) if bits is not None else None,
        **asdict(shape),
        "vocabulary": _vocabulary(summary),
        "chat_template": templates.get("default"),
        "named_chat_templates": {name: text for name, text in templates.items() if name != "default"},
        "chat_template_supports": asdict(features(templates["default"])) if "default" in templates else None,
        "recommended_sampling": {name: _number(value) for name, value in summary.sampling},
        "details": dict(summary.details),
        "metadata": {key: entry_value(entry, read, full=full) for key, entry in header.metadata.items()},
        "tensors": Elements((tensor_document(tensor) for tensor in tensors), rows=True),
    }


def _vocabulary(summary: Summary) -> dict[str, Any] | None:
    vocabulary = summary.vocabulary
    if vocabulary is None:
        return None
    return {
        "type": vocabulary.type,
        "size": vocabulary.size,
        "model": vocabulary.model,
        "pre": vocabulary.pre,
        "merges": vocabulary.merges,
        "special_tokens": {token.role: {"id": token.id, "text": token.text} for token in vocabulary.special},
        "add_bos": vocabulary.add_bos,
        "add_eos": vocabulary.add_eos,
    }


def entry_value(entry: Entry, read: ReadArray, *, full: bool) -> Any:
    """Return a key's value; a long array or string by its type and length, unless `full`."""
    value = entry.value
    if not isinstance(value, Lazy):
        return _number(value) if entry.type == ValueType.FLOAT32 else value
    if value.element is None:
        return "".join(read(value)) if full else {"type": "str", "length": value.size}
    if not full and value.count > SHORT_ARRAY:
        return {"type": value.element.label, "length": value.count}
    elements = read(value)
    return Elements(map(_number, elements) if value.element == ValueType.FLOAT32 else elements)


def _number(value: Any) -> Any:
    return shortest(value) if isinstance(value, float) else value


def tensor_document(tensor: TensorInfo) -> dict[str, Any]:
    """Return the document of a tensor: `offset` in bytes from the start of its file, `part` from 0."""
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "type": tensor.type.name,
        "size": tensor.size,
        "offset": tensor.offset,
        "part": tensor.part,
    }


def findings_document(location: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the document of `--check`."""
    return {
        "path": location,
        "sound": not any(finding.severity == "error" for finding in findings),
        "findings": [_finding(finding) for finding in findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity,
        "place": finding.subject,
        "message": finding.message,
        "offset": finding.offset,
        "part": finding.part,
    }


def differences_document(old: str, new: str, differences: Sequence[Difference]) -> dict[str, Any]:
    """Return the document of `--diff`."""
    return {"old": old, "new": new, "same": not differences, "differences": [asdict(one) for one in differences]}


def hashes_document(hashes: Hashes) -> dict[str, Any]:
    """Return the document of `--hash`."""
    return {"files": dict(hashes.files), "tensors": dict(hashes.tensors)}


def fit_document(location: str, report: FitReport, flags: Sequence[str]) -> dict[str, Any]:
    """Return the document of `--fit`. Sizes are in bytes."""
    devices = [{**asdict(device), "needed": device.needed, "fits": device.fits} for device in report.devices]
    others = {key: value for key, value in asdict(report).items() if key not in ("devices", "settings")}
    document = {"path": location, "fits": report.fits, "total": report.total, **others}
    return {**document, "flags": list(flags), "devices": devices}


def system_document(report: SystemReport, sandbox: SandboxReport, paths: Mapping[str, str]) -> dict[str, Any]:
    """Return the document of `--system`."""
    return {**asdict(report), "sandbox": asdict(sandbox), "paths": dict(paths)}
