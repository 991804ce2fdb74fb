"""The list options that `bench` and `bench quality` share. Each can be repeated, and each of its values is measured."""

from __future__ import annotations

import itertools
from typing import Annotated, TypeVar

from llamacli.cli.bench import ranges as lists
from llamacli.cli.framework.parameters import option
from llamacli.engine.params import CacheType, FlashAttention, Kernels

T = TypeVar("T")

Numbers = tuple[tuple[int, ...], ...]

ModelsOption = Annotated[
    tuple[tuple[str, ...], ...],
    option(
        "-m", "--model", metavar="MODEL", parser=lists.parse_models, shows="the demo model",
        help="Model, as for `run`; comma-separated for several, can be repeated.",
    ),
]  # fmt: skip
FlashAttentionOption = Annotated[
    tuple[tuple[FlashAttention, ...], ...],
    option("-fa", "--flash-attn", metavar="on|off|auto", parser=lists.parse_flash, shows="auto", help="Flash attention."),
]
CacheTypeKOption = Annotated[
    tuple[tuple[CacheType, ...], ...],
    option(
        "-ctk", "--cache-type-k", metavar="TYPES", parser=lists.parse_types, shows="f16", help="Type of the KV cache's keys."
    ),
]
CacheTypeVOption = Annotated[
    tuple[tuple[CacheType, ...], ...],
    option(
        "-ctv", "--cache-type-v", metavar="TYPES", parser=lists.parse_types, shows="f16", help="Type of the KV cache's values."
    ),
]
GpuLayersOption = Annotated[
    Numbers,
    option(
        "-ngl", "--gpu-layers", "--n-gpu-layers", metavar="LIST", parser=lists.parse_layers, shows="all",
        help="Number of layers on the GPU.",
    ),
]  # fmt: skip
KernelsOption = Annotated[
    tuple[tuple[Kernels, ...], ...],
    option(
        "--kernels", metavar="own|upstream", parser=lists.parse_kernels, shows="own",
        help="What computes on the CPU: our kernels where there are any, or llama.cpp's.",
    ),
]  # fmt: skip


def joined(parts: tuple[tuple[T, ...], ...]) -> tuple[T, ...]:
    """Return the values of a repeated list option in one tuple."""
    return tuple(itertools.chain.from_iterable(parts))
