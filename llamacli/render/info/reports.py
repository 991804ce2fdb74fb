"""The reports of `info` as text: findings, differences, hashes, memory and the system."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from llamacli.engine.fit.report import DeviceShare, FitReport
from llamacli.engine.system import Backend, SystemReport
from llamacli.gguf.analysis.diff import Difference
from llamacli.gguf.analysis.hashes import Hashes
from llamacli.gguf.check.finding import Finding
from llamacli.render.text import escape_line
from llamacli.units import counted, format_bytes

Paint = Callable[[str, str], str]
"""Function that gives text one of the styles bold, dim, red, green, yellow, cyan."""

MOST_ALIKE = 3
"""Largest number of similar findings that have a line each."""

_NUMBER = re.compile(r"[0-9]+")
_COLORS = {"error": "red", "warning": "yellow", "note": "cyan"}
_MARKS = {"added": "+", "removed": "-", "changed": "~"}
_MARK_COLORS = {"added": "green", "removed": "red", "changed": "yellow"}


def plain(text: str, _style: str) -> str:
    """A `Paint` without colours."""
    return text


def format_findings(findings: Sequence[Finding], *, paint: Paint = plain) -> str:
    """Return one line per finding, then the verdict. Findings that differ only in names and numbers share two lines."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        kind = (finding.severity, finding.subject.partition(" ")[0], _NUMBER.sub("#", finding.message))
        groups.setdefault(kind, []).append(finding)
    lines: list[str] = []
    for alike in groups.values():
        shown = alike if len(alike) <= MOST_ALIKE else alike[:1]
        lines += [_finding_line(finding, paint) for finding in shown]
        if len(shown) < len(alike):
            lines.append(f"{'':<7}  and {len(alike) - 1:,} more like this, the last for {escape_line(alike[-1].subject)}")
    return "\n".join([*lines, verdict(findings)]) + "\n"


def _finding_line(finding: Finding, paint: Paint) -> str:
    at = f" at byte {finding.offset}" if finding.offset is not None else ""
    label = paint(f"{finding.severity:<7}", _COLORS[finding.severity])
    return f"{label}  {escape_line(finding.subject)}{at}: {escape_line(finding.message)}"


def verdict(findings: Sequence[Finding]) -> str:
    """Return `sound` or `not sound`, with the number of findings: `not sound: 2 errors, 1 warning`."""
    counts = Counter(finding.severity for finding in findings)
    parts = [counted(counts[kind], kind) for kind in ("error", "warning", "note") if counts[kind]]
    head = "not sound" if counts["error"] else "sound"
    return f"{head}: {', '.join(parts)}" if parts else head


def format_differences(differences: Sequence[Difference], *, width: int, paint: Paint = plain) -> str:
    """Return the differences: keys, then tensors, of which those with the same change share lines."""
    if not differences:
        return "no differences\n"
    lines: list[str] = []
    keys = [difference for difference in differences if difference.kind == "key"]
    for difference in keys:
        lines += _difference_lines(difference, width, paint)
    lines += _tensor_lines([difference for difference in differences if difference.kind == "tensor"], width, paint)
    tensors = len(differences) - len(keys)
    lines.append(
        f"{counted(len(keys), 'key')} and {counted(tensors, 'tensor')} {'differ' if len(differences) > 1 else 'differs'}"
    )
    return "\n".join(lines) + "\n"


def _difference_lines(difference: Difference, width: int, paint: Paint) -> Iterator[str]:
    mark = paint(_MARKS[difference.change], _MARK_COLORS[difference.change])
    name = escape_line(difference.name)
    if difference.change == "changed":
        yield f"{mark} {name}"
        yield f"    {paint('-', 'red')} {_cut(difference.old or '', width - 6)}"
        yield f"    {paint('+', 'green')} {_cut(difference.new or '', width - 6)}"
    else:
        yield f"{mark} {name}: {_cut(difference.old or difference.new or '', width - len(name) - 4)}"


def _tensor_lines(differences: Sequence[Difference], width: int, paint: Paint) -> Iterator[str]:
    """Yield lines for tensors; those with the same change share one, with their number and names."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for difference in differences:
        groups.setdefault(_kind_of(difference), []).append(difference.name)
    singles = {difference.name: difference for difference in differences}
    for (change, old, new), names in groups.items():
        if len(names) == 1:
            yield from _difference_lines(singles[names[0]], width, paint)
            continue
        mark = paint(_MARKS[change], _MARK_COLORS[change])
        what = f"{old} -> {new}" if change == "changed" and old != new else old or new
        yield f"{mark} {counted(len(names), 'tensor')}: {what}"
        yield f"    {_cut(', '.join(names), width - 4)}"


def _kind_of(difference: Difference) -> tuple[str, str, str]:
    """Return what tensors on a shared line have in common: the change, and both descriptions without an unchanged shape."""
    old, new = ((text or "").partition(" [") for text in (difference.old, difference.new))
    if difference.change == "changed" and old[2].partition("]")[0] != new[2].partition("]")[0]:
        return difference.change, difference.old or "", difference.new or ""
    return difference.change, old[0] + old[2].partition("]")[2], new[0] + new[2].partition("]")[2]


def _cut(text: str, width: int) -> str:
    text = escape_line(text)
    width = max(width, 20)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def format_hashes(hashes: Hashes) -> str:
    """Return the hashes in the format of sha256sum: tensors, then files."""
    rows = [*hashes.tensors, *hashes.files]
    return "".join(f"{digest}  {escape_line(name)}\n" for name, digest in rows)


def format_fit(report: FitReport, flags: Sequence[str], *, paint: Paint = plain) -> str:
    """Return a table of each device's memory, the verdict, and the options (`flags`) that make the model fit."""
    sequences = f" for each of {report.sequences} sequences" if report.sequences > 1 else ""
    how = "estimated from the header" if report.is_estimate else "by llama.cpp's allocator"
    lines = [paint(f"memory for a context of {report.context:,} tokens{sequences}, {how}", "bold")]
    lines.append(f"{'':<12}{'weights':>12}{'KV cache':>12}{'compute':>12}{'program':>12}{'total':>12}{'free':>12}")
    lines += [_device_line(device) for device in report.devices]
    if len(report.devices) > 1:
        lines.append(f"{'all':<12}{'':>48}{format_bytes(report.total):>12}")
    answer = paint("fits", "green") if report.fits else paint("does not fit", "red")
    lines.append(f"{'verdict':<18}{answer}")
    if report.largest_context:
        trained = " (the model's training context)" if report.largest_context == report.trained_context else ""
        lines.append(f"{'largest context':<18}{report.largest_context:,} tokens{trained}")
    else:
        lines.append(f"{'largest context':<18}none (the weights alone are too large)")
    if report.gpu_layers is not None:
        layers = "all" if report.gpu_layers < 0 else str(report.gpu_layers)
        lines.append(f"{'layers on GPUs':<18}{layers} of {report.layers + 1}")
    if flags:
        lines.append(f"{'use':<18}{' '.join(flags)}")
    return "\n".join(lines) + "\n"


def _device_line(device: DeviceShare) -> str:
    sizes = (device.weights, device.cache, device.compute, device.program, device.needed)
    free = "unknown" if device.free is None else format_bytes(device.free)
    return f"{escape_line(device.name)[:12]:<12}" + "".join(f"{format_bytes(size):>12}" for size in sizes) + f"{free:>12}"


def format_system(report: SystemReport, paths: Mapping[str, str]) -> str:
    """Return the facts for a bug report. `paths` are the directories and files in use, by name."""
    rows = [
        ("llamacli", report.version),
        ("llama.cpp", f"{report.llama_cpp}, {report.compiler} for {report.target}"),
        ("Python", report.python),
        ("system", report.platform),
        ("threads", f"{report.threads} for generation, {report.logical_cpus} logical CPUs"),
    ]
    if report.memory_available is not None:
        rows.append(("memory", f"{format_bytes(report.memory_available)} available"))
    for backend in report.backends:
        rows += _backend_rows(backend)
    rows.append(("libraries", report.libraries))
    rows += list(paths.items())
    return "".join(f"{name:<14}  {escape_line(value)}\n" for name, value in rows)


def _backend_rows(backend: Backend) -> Iterator[tuple[str, str]]:
    features = " ".join(name if value == "1" else f"{name}={value}" for name, value in backend.features.items() if value != "0")
    yield f"backend {backend.name}", features or "no features reported"
    for device in backend.devices:
        free = f", {format_bytes(device.free)} free" if device.kind != "cpu" else ""
        yield f"  {device.name}", f"{device.description} ({device.kind}), {format_bytes(device.memory)}{free}"
