"""`--version`: the version and the build, without loading Typer or the native library."""

from __future__ import annotations

import os
import sys

from llamacli.version import VERSION


def print_version() -> int:
    """Write the version to stdout and return the exit status. The error boundary takes longer to load, so it is not used."""
    data = (format_version() + "\n").encode()
    try:
        os.write(1, data)
    except BrokenPipeError:
        return 141
    except OSError as error:
        sys.stderr.write(f"llamacli: error: cannot write to standard output: {error.strerror}\n")
        return 1
    return 0


def format_version() -> str:
    """The version, then llama.cpp's commit, CPU features and backends of the build."""
    return f"llamacli {VERSION}\n{_describe_build()}"


def _describe_build() -> str:
    build = _read_build()
    if build is None:
        return "native library not built"
    lines = [f"llama.cpp {build.get('commit', 'unknown commit')}"]
    features = _features(str(build.get("system_info", "")))
    backends = build.get("backends")
    if features:
        lines.append(f"features: {features}")
    if isinstance(backends, list):
        lines.append(f"backends: {', '.join(map(str, backends))}")
    elif backends:
        lines.append(f"backends: {backends}")
    protocol = build.get("rpc_protocol")
    if isinstance(protocol, list) and protocol:
        lines.append(f"RPC protocol: {'.'.join(map(str, protocol))}")
    if build.get("media"):
        lines.append(f"media: {build['media']}")
    if build.get("compiler"):
        lines.append(f"compiler: {build['compiler']}")
    return "\n".join(lines)


def _features(system_info: str) -> str:
    """From llama.cpp's `CPU : AVX = 1 | AVX2 = 1 | NEON = 0 |` to `AVX AVX2`."""
    found = []
    for part in system_info.replace("\n", "|").split("|"):
        name, equals, value = part.rpartition("=")
        if equals and value.strip() not in ("", "0"):
            name = name.rpartition(":")[2].strip()
            found.append(name if value.strip() == "1" else f"{name}={value.strip()}")
    return " ".join(found)


def _read_build() -> dict[str, object] | None:
    """The build's description beside the libraries, read without loading them."""
    from llamacli.binding.location import find_folder, read_build_info
    from llamacli.errors import LibraryError

    try:
        build: object = read_build_info(find_folder())
    except LibraryError:
        return None
    return build if isinstance(build, dict) else None
