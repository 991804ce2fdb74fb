"""The environment of a child: what computing needs, and no keys."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

_NAMES = frozenset((
    "LANG", "TZ", "TERM", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER",
    "CUDA_MODULE_LOADING", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION",
    "ONEAPI_DEVICE_SELECTOR", "ZES_ENABLE_SYSMAN", "VK_ICD_FILENAMES", "VK_DRIVER_FILES", "MALLOC_ARENA_MAX",
))  # fmt: skip
_PREFIXES = ("LC_", "OMP_", "GOMP_", "KMP_", "GGML_", "LLAMA_ARG_")
_SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD")


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a child keeps: of the language, of threads, and of GPUs. No PATH, HOME, tokens or keys."""
    return {
        name: value
        for name, value in environ.items()
        if (name in _NAMES or name.startswith(_PREFIXES)) and not any(word in name for word in _SECRET)
    }


def clear_environment() -> None:
    """Reduce this process' environment to `child_environment`, and overwrite the other values in memory (on Linux).

    What Python or a library has copied elsewhere before stays there: fork before keys are read.
    """
    kept = child_environment(os.environ)
    if sys.platform.startswith("linux"):
        from llamacli.binding.linux import wipe_environment

        wipe_environment({os.fsencode(name) for name in kept})
    os.environ.clear()
    os.environ.update(kept)
