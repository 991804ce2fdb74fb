"""The reports of `info` as text: findings, differences, hashes, memory and the system."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from llamacli.backend.child.sandbox import SandboxReport
from llamacli.engine.fit.report import DeviceShare, FitReport
from llamacli.engine.system import Backend, SystemReport
from llamacli.gguf.analysis.diff import Difference
from llamacli.gguf.analysis.hashes import Hashes
from llamacli.gguf.check.finding import Finding
from llamacli.render.columns import format_records
from llamacli.render.text import columns, escape_line
from llamacli.render.wrap import cut, wrap
from llamacli.units import counted, format_bytes

Paint = Callable[[str, str], str]
"""Function that gives text one of the styles bold, dim, red, green, yellow, cyan."""

_MIN_VALUE = 20
"""Columns that a value has at least."""

_NARROWEST_NAME, _WIDEST_NAME = 8, 16
"""Columns of the names of devices."""

MOST_ALIKE = 3
"""Largest number of similar findings that have a line each."""

_NUMBER = re.compile(r"[0-9]+")
_COLORS = {"error": "red", "warning": "yellow", "note": "cyan"}
_MARKS = {"added": "+", "removed": "-", "changed": "~"}
_MARK_COLORS = {"added": "green", "removed": "red", "changed": "yellow"}


def plain(text: str, _style: str) -> str:
    """A `Paint` without colours."""
    return text


def format_findings(findings: Sequence[Finding], *, paint: Paint = plain, width: int | None = None) -> str:
    """Return one line per finding, then the verdict. Findings that differ only in names and numbers share two lines."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        kind = (finding.severity, finding.subject.partition(" ")[0], _NUMBER.sub("#", finding.message))
        groups.setdefault(kind, []).append(finding)
    lines: list[str] = []
    for alike in groups.values():
        shown = alike if len(alike) <= MOST_ALIKE else alike[:1]
        for finding in shown:
            lines += _finding_lines(finding, width, paint)
        if len(shown) < len(alike):
            more = f"and {len(alike) - 1:,} more like this, the last for {escape_line(alike[-1].subject)}"
            lines += wrap(more, width, first=f"{'':<7}  ")
    return "\n".join([*lines, *wrap(verdict(findings), width, rest="  ")]) + "\n"


def _finding_lines(finding: Finding, width: int | None, paint: Paint) -> list[str]:
    at = f" at byte {finding.offset}" if finding.offset is not None else ""
    label = paint(f"{finding.severity:<7}", _COLORS[finding.severity])
    return wrap(f"{escape_line(finding.subject)}{at}: {escape_line(finding.message)}", width, first=f"{label}  ")


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
    verb = "differ" if len(differences) > 1 else "differs"
    lines += wrap(f"{counted(len(keys), 'key')} and {counted(tensors, 'tensor')} {verb}", width)
    return "\n".join(lines) + "\n"


def _difference_lines(difference: Difference, width: int, paint: Paint) -> Iterator[str]:
    mark = paint(_MARKS[difference.change], _MARK_COLORS[difference.change])
    name = escape_line(difference.name)
    if difference.change == "changed":
        yield f"{mark} {name}"
        yield f"    {paint('-', 'red')} {_cut(difference.old or '', width - 6)}"
        yield f"    {paint('+', 'green')} {_cut(difference.new or '', width - 6)}"
        return
    value, room = difference.old or difference.new or "", width - columns(name) - 4
    if room >= _MIN_VALUE:
        yield f"{mark} {name}: {_cut(value, room)}"
    else:
        yield f"{mark} {name}:"
        yield f"    {_cut(value, width - 4)}"


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
        yield from wrap(escape_line(f"{counted(len(names), 'tensor')}: {what}"), width, first=f"{mark} ", rest="    ")
        yield f"    {_cut(', '.join(names), width - 4)}"


def _kind_of(difference: Difference) -> tuple[str, str, str]:
    """Return what tensors on a shared line have in common: the change, and both descriptions without an unchanged shape."""
    old, new = ((text or "").partition(" [") for text in (difference.old, difference.new))
    if difference.change == "changed" and old[2].partition("]")[0] != new[2].partition("]")[0]:
        return difference.change, difference.old or "", difference.new or ""
    return difference.change, old[0] + old[2].partition("]")[2], new[0] + new[2].partition("]")[2]


def _cut(text: str, width: int) -> str:
    return cut(escape_line(text), max(width, _MIN_VALUE))


def format_hashes(hashes: Hashes) -> str:
    """Return the hashes in the format of sha256sum: tensors, then files."""
    rows = [*hashes.tensors, *hashes.files]
    return "".join(f"{digest}  {escape_line(name)}\n" for name, digest in rows)


def format_fit(report: FitReport, flags: Sequence[str], *, paint: Paint = plain, width: int | None = None) -> str:
    """Return a table of each device's memory, the verdict, and the options (`flags`) that make the model fit."""
    sequences = f" for each of {report.sequences} sequences" if report.sequences > 1 else ""
    how = "estimated from the header" if report.is_estimate else "by llama.cpp's allocator"
    title = f"memory for a context of {report.context:,} tokens{sequences}, {how}"
    lines = [paint(line, "bold") for line in wrap(title, width)]
    lines += _device_table(report, width)
    facts = [("verdict", paint("fits", "green") if report.fits else paint("does not fit", "red"))]
    if report.largest_context:
        trained = " (the model's training context)" if report.largest_context == report.trained_context else ""
        facts.append(("largest context", f"{report.largest_context:,} tokens{trained}"))
    else:
        facts.append(("largest context", "none (the weights alone are too large)"))
    if report.gpu_layers is not None:
        layers = "all" if report.gpu_layers < 0 else str(report.gpu_layers)
        facts.append(("layers on GPUs", f"{layers} of {report.layers + 1}"))
    if flags:
        facts.append(("use", " ".join(flags)))
    for label, value in facts:
        lines += wrap(value, width, first=f"{label:<18}")
    return "\n".join(lines) + "\n"


def _device_table(report: FitReport, width: int | None) -> list[str]:
    """Return a line for each device, or on a narrow terminal a line for each size."""
    extra = {"projector": [one.projector for one in report.devices], "draft model": [one.draft for one in report.devices]}
    extra = {name: sizes for name, sizes in extra.items() if any(sizes)}
    parts = ("weights", "KV cache", "compute", *extra, "program")
    titles = (*parts, "total", "free")
    rows = [
        (cut(escape_line(device.name), _WIDEST_NAME), *_device_sizes(device, [sizes[number] for sizes in extra.values()]))
        for number, device in enumerate(report.devices)
    ]
    if len(rows) > 1:
        rows.append(("all", *([""] * len(parts)), format_bytes(report.total), ""))
    label = max(_NARROWEST_NAME, *(columns(name) + 1 for name, *_ in rows))
    lines = [
        name + " " * (label - columns(name)) + "".join(f"{cell:>12}" for cell in cells).rstrip()
        for name, *cells in (("", *titles), *rows)
    ]
    return lines if width is None or max(map(len, lines)) <= width else format_records(titles, rows, width)


def _device_sizes(device: DeviceShare, extra: Sequence[int]) -> tuple[str, ...]:
    sizes = (device.weights, device.cache, device.compute, *extra, device.program, device.needed)
    return *map(format_bytes, sizes), "unknown" if device.free is None else format_bytes(device.free)


def format_system(report: SystemReport, sandbox: SandboxReport, paths: Mapping[str, str], *, width: int | None = None) -> str:
    """Return the facts for a bug report. `paths` are the directories and files in use, by name."""
    rows = [
        ("llamacli", report.version),
        ("llama.cpp", f"{report.llama_cpp}, {report.compiler} for {report.target}"),
        ("Python", report.python),
        ("system", report.platform),
        ("threads", f"{report.threads} for generation, {report.logical_cpus} logical CPUs"),
    ]
    rows.append(("kernels", f"our own for {report.kernels}" if report.kernels else "llama.cpp's: we have none for this CPU"))
    rows.append(("media", report.media or "this build encodes no pictures and sound"))
    rows.append(("sandbox", format_sandbox(sandbox)))
    if report.memory_available is not None:
        rows.append(("memory", f"{format_bytes(report.memory_available)} available"))
    for backend in report.backends:
        rows += _backend_rows(backend)
    rows.append(("libraries", report.libraries))
    rows += list(paths.items())
    lines = [line for name, value in rows for line in wrap(escape_line(value), width, first=f"{name:<14}  ")]
    return "\n".join(lines) + "\n"


def format_sandbox(report: SandboxReport) -> str:
    """Return what confines the engine's process on this system, and what is missing."""
    parts = [
        *([f"Landlock {report.landlock}"] if report.landlock else []),
        *(["seccomp"] if report.seccomp else []),
        *(["no new privileges"] if report.no_new_privileges else []),
    ]
    return "; ".join([*([", ".join(parts)] if parts else []), *report.missing])


def _backend_rows(backend: Backend) -> Iterator[tuple[str, str]]:
    features = " ".join(name if value == "1" else f"{name}={value}" for name, value in backend.features.items() if value != "0")
    yield f"backend {backend.name}", features or "no features reported"
    for device in backend.devices:
        free = f", {format_bytes(device.free)} free" if device.kind != "cpu" else ""
        yield f"  {device.name}", f"{device.description} ({device.kind}), {format_bytes(device.memory)}{free}"
