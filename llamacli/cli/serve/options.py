"""Options of `llamacli serve` alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from llamacli.cli.framework.options import ModelOptions
from llamacli.cli.framework.parameters import option
from llamacli.cli.framework.parsers import parse_duration, parse_int, parse_names
from llamacli.server.security.rate_limit import RateLimit, parse_rate_limit


def parse_keep_alive(text: str) -> float | None:
    """Parse a duration, or `always`, which is None."""
    return None if text == "always" else parse_duration(text)


def parse_parallel(text: str) -> int | None:
    """Parse a number of sequences, or `auto`, which is None."""
    if text == "auto":
        return None
    count = parse_int(text)
    if not 1 <= count <= 256:
        raise ValueError(f"{count} is not a number from 1 to 256")
    return count


def parse_port(text: str) -> int:
    """Parse a port; 0 is any free one."""
    port = parse_int(text)
    if not 0 <= port <= 65535:
        raise ValueError(f"{port} is not a port from 0 to 65535")
    return port


def parse_count(text: str) -> int:
    """Parse a number from 1."""
    count = parse_int(text)
    if count < 1:
        raise ValueError(f"{count} is not a number from 1")
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModelOptions(ModelOptions):
    """The models, and the parameters that they are loaded with."""

    model: Annotated[
        tuple[str, ...],
        option(
            "-m",
            "--model",
            metavar="MODEL",
            shows="those of the settings' [models], else the demo model",
            help="A GGUF file, hf:user/repo[:quant], an https:// address, or a name from `llamacli models list`; can be "
            "repeated. The first is loaded at once, the others when they are asked for.",
        ),
    ] = ()  # type: ignore[assignment]  # several here


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """Where the server listens."""

    PANEL: ClassVar[str] = "Network"

    host: Annotated[
        str, option("--host", metavar="HOST", help="Address to listen on; another than this machine's own needs a key.")
    ] = "127.0.0.1"
    port: Annotated[
        int | None,
        option(
            "--port", metavar="N", parser=parse_port, shows="8080, or 50052 of an RPC node", help="Port; 0 is any free one."
        ),
    ] = None
    socket: Annotated[
        Path | None, option("--socket", metavar="PATH", help="Listen on a unix socket instead, for this user only.")
    ] = None
    tls_cert: Annotated[Path | None, option("--tls-cert", metavar="FILE", help="Certificate chain (PEM), for https.")] = None
    tls_key: Annotated[Path | None, option("--tls-key", metavar="FILE", help="Private key of --tls-cert (PEM).")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """An RPC node instead of a server."""

    PANEL: ClassVar[str] = "RPC node"

    rpc_node: Annotated[
        bool,
        option(
            "--rpc-node", environment=False,
            help="Serve no model, but lend this machine's devices to another's --rpc. -dev, -t and --kernels apply.",
        ),
    ] = False  # fmt: skip
    cache: Annotated[
        Path | None,
        option("--cache", metavar="DIR", environment=False, help="Keep large tensors here, so that they are sent only once."),
    ] = None
    insecure_rpc: Annotated[
        bool,
        option(
            "--insecure-rpc", environment=False,
            help="Listen beyond this machine, although RPC knows no keys and trusts whoever connects.",
        ),
    ] = False  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessOptions:
    """Who may ask, and how often."""

    PANEL: ClassVar[str] = "Access"

    api_key: Annotated[
        tuple[str, ...], option("--api-key", metavar="KEY", help="Key that clients must send; can be repeated.")
    ] = ()
    api_keys_file: Annotated[
        Path | None,
        option("--api-keys-file", metavar="FILE", help="File of keys, as `llamacli serve key new` writes it."),
    ] = None
    rate_limit: Annotated[
        RateLimit | None,
        option(
            "--rate-limit", metavar="LIMITS", parser=parse_rate_limit, shows="no limit",
            help="Limits for each key, such as 60/min,20000tok/min.",
        ),
    ] = None  # fmt: skip
    allowed_host: Annotated[
        tuple[str, ...],
        option(
            "--allowed-host", metavar="NAMES", parser=parse_names,
            help="Comma-separated names under which the server is reached, beside localhost; * is any.",
        ),
    ] = ()  # fmt: skip
    cors_origin: Annotated[
        tuple[str, ...],
        option(
            "--cors-origin", metavar="ORIGINS", parser=parse_names,
            help="Comma-separated origins of web pages that may use the server, such as https://app.example; * is any.",
        ),
    ] = ()  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How much runs at once."""

    PANEL: ClassVar[str] = "Load"

    parallel: Annotated[
        int | None,
        option(
            "-np", "--parallel", metavar="N|auto", parser=parse_parallel, shows="auto",
            help="Answers of each model that run at once; auto is 4, or as many as fit.",
        ),
    ] = None  # fmt: skip
    queue: Annotated[
        int, option("--queue", metavar="N", parser=parse_count, help="Requests that may wait for each model; more get a 429.")
    ] = 256
    drain: Annotated[
        float,
        option(
            "--drain", metavar="TIME", parser=parse_duration, shows="30s",
            help="Time for running answers to finish when the server ends.",
        ),
    ] = 30.0  # fmt: skip
    keep_alive: Annotated[
        float | None,
        option(
            "--keep-alive", metavar="TIME|always", parser=parse_keep_alive, shows="always",
            help="Time after which an idle model is freed, such as 10m.",
        ),
    ] = None  # fmt: skip
    max_models: Annotated[
        int | None,
        option(
            "--max-models", metavar="N", parser=parse_count, shows="as many as fit",
            help="Models that are loaded at once; the one that is idle for longest is freed for another.",
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """What is logged on standard error, beside a line for each request."""

    PANEL: ClassVar[str] = "Log"

    log_json: Annotated[bool, option("--log-json", help="Log requests as JSON lines.")] = False
    log_prompts: Annotated[bool, option("--log-prompts", help="Log prompts and answers, too.")] = False
