"""Loading of a model file: parameters for C, an interruptible thread, and reasons for failures."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from llamacli.binding import log
from llamacli.binding.arrays import float_array, metadata_overrides, pointer_array
from llamacli.binding.enums import llama_load_mode, llama_split_mode
from llamacli.binding.library import library
from llamacli.engine.params import ModelParams, Override
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.hardware import available_memory
from llamacli.engine.runtime.rpc import devices_of
from llamacli.errors import LlamacliError, MemoryFullError, ModelFileError, ModelUnsupportedError, UsageError
from llamacli.gguf.header import Header

T = TypeVar("T")

ALL_LAYERS = -1

_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 0.1
_MOST_IN_HUGE_PAGES = 1 << 30
_OUT_OF_MEMORY = ("failed to allocate", "out of memory", "unable to allocate", "cannot allocate", "bad_alloc", "buffer of size")
_SPLIT_MODES = {
    "none": llama_split_mode.LLAMA_SPLIT_MODE_NONE,
    "layer": llama_split_mode.LLAMA_SPLIT_MODE_LAYER,
    "row": llama_split_mode.LLAMA_SPLIT_MODE_ROW,
    "tensor": llama_split_mode.LLAMA_SPLIT_MODE_TENSOR,
}
_LOAD_MODES: dict[object, llama_load_mode] = {  # by (mmap, mlock), and by name
    "auto": llama_load_mode.LLAMA_LOAD_MODE_AUTO,
    "none": llama_load_mode.LLAMA_LOAD_MODE_NONE,
    "mmap": llama_load_mode.LLAMA_LOAD_MODE_MMAP,
    "mlock": llama_load_mode.LLAMA_LOAD_MODE_MLOCK,
    "mmap+mlock": llama_load_mode.LLAMA_LOAD_MODE_MMAP_MLOCK,
    "dio": llama_load_mode.LLAMA_LOAD_MODE_DIRECT_IO,
    (False, False): llama_load_mode.LLAMA_LOAD_MODE_NONE,
    (True, False): llama_load_mode.LLAMA_LOAD_MODE_MMAP,
    (False, True): llama_load_mode.LLAMA_LOAD_MODE_MLOCK,
    (True, True): llama_load_mode.LLAMA_LOAD_MODE_MMAP_MLOCK,
}


def load(
    path: Path,
    params: ModelParams,
    gpu_layers: int,
    vocab_only: bool,
    cancel: CancelFlag,
    on_load: Callable[[float], None] | None,
    changes: Mapping[str, Override] | None = None,
    *,
    allocates: bool = True,
    beside: Callable[[], None] | None = None,
) -> Any:
    """Load a file and return its `llama_model` pointer. `changes` override scalars of its metadata; `beside` runs meanwhile.

    Without `allocates` the tensors are laid out, but there is no memory for them and nothing is read into it.

    Raises:
        ModelError, MemoryFullError: if llama.cpp cannot load it; the message contains the reason it logged.
        CancelledError: if `cancel` was set meanwhile.
        What `beside` raises.
    """
    lib = library()
    if params.numa:
        lib.llama_numa_init(params.numa)
    c_params = lib.llama_model_default_params()
    kept = fill_params(c_params, params, gpu_layers, vocab_only)
    c_params.no_alloc = not allocates
    if changes:
        c_params.kv_overrides = metadata_overrides(changes)
    c_params.progress_callback = cancel.progress_callback
    c_params.progress_callback_user_data = cancel.address
    name = str(path).encode("utf-8", "surrogateescape")
    with log.complaints() as complaints:
        handle = interruptible(lambda: lib.llama_model_load_from_file(name, c_params), cancel, on_load, beside=beside)
    del kept  # C reads these arrays while it loads
    if not handle:
        cancel.check()
        raise _reason(path, complaints)
    return handle


def try_load(path: Path) -> None:
    """Have llama.cpp read the header of a file and lay out its tensors, without their data.

    Raises:
        ModelError: if it refuses the file.
    """
    handle = load(path, ModelParams(mmap=False), 0, False, CancelFlag(), None, allocates=False)
    library().llama_model_free(handle)


def can_use_huge_pages(header: Header, params: ModelParams) -> bool:
    """Return whether private memory for the weights is cheap: a small file, most of memory free, and no GPU."""
    if header.integer("split.count") or (params.gpu_layers != 0 and library().llama_supports_gpu_offload()):
        return False
    available = available_memory()
    return available is not None and header.size <= min(_MOST_IN_HUGE_PAGES, available // 4)


def as_loaded(params: ModelParams) -> ModelParams:
    """Return the parameters without repacking if our kernels compute: they know all types that llama.cpp would repack.

    They read weights as they are in the file, so that these stay mapped and shared.
    """
    if not params.repack or params.kernels != "own" or not library().llamacli_kernels_need_no_repacking():
        return params
    return dataclasses.replace(params, repack=False)


def interruptible(
    work: Callable[[], T],
    cancel: CancelFlag,
    on_poll: Callable[[float], None] | None = None,
    *,
    patience: float | None = _PATIENCE_SECONDS,
    beside: Callable[[], None] | None = None,
) -> T:
    """Run `work`, a long call into C, on a thread, so that the caller's thread can handle Ctrl-C meanwhile, and run `beside`.

    `on_poll` receives `cancel.progress` at once and then about 20 times a second. An exception in the caller's thread sets
    `cancel`, waits `patience` seconds for the work to notice (None: until it ends), and propagates.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []
    ended = threading.Event()  # an interrupted join() takes a thread for ended that is running (in Python 3.11)

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failure.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="llamacli-load", daemon=True).start()
    try:
        if on_poll is not None:
            on_poll(cancel.progress)
        if beside is not None:
            beside()
        while not ended.wait(_POLL_SECONDS):
            if on_poll is not None:
                on_poll(cancel.progress)
    except BaseException:
        cancel.set()
        ended.wait(patience)
        raise
    if failure:
        raise failure[0]
    return outcome[0]


def fill_params(c_params: Any, params: ModelParams, gpu_layers: int, vocab_only: bool) -> list[Any]:
    """Fill in the parameters for C, and return the arrays that must live as long as C reads them."""
    lib = library()
    c_params.n_gpu_layers = gpu_layers
    c_params.split_mode = _SPLIT_MODES[params.split_mode]
    c_params.main_gpu = params.main_gpu
    c_params.load_mode = _LOAD_MODES[params.load_mode or (params.mmap, params.mlock)]
    c_params.use_extra_bufts, c_params.no_host = params.repack, params.no_host
    c_params.check_tensors = params.check_tensors
    c_params.vocab_only, c_params.load_mtp = vocab_only, params.mtp and not vocab_only
    kept: list[Any] = []
    if params.tensor_split:
        most = lib.llama_max_devices()
        if len(params.tensor_split) > most:
            raise UsageError(
                f"tensor_split has {len(params.tensor_split)} values; at most {most} devices are supported",
                parameter="tensor_split",
            )
        shares = float_array([*params.tensor_split, *[0.0] * (most - len(params.tensor_split))])
        c_params.tensor_split = shares
        kept.append(shares)
    names = () if params.devices == ("none",) else params.devices
    wanted = [device_named(name) for name in names] if params.devices else devices_of(params.rpc)
    if wanted is not None:
        devices = pointer_array("ggml_backend_device", wanted)
        c_params.devices = devices
        kept.append(devices)
    return kept


def device_named(name: str) -> Any:
    """Return a device of this build and machine. Raises UsageError."""
    lib = library()
    device = lib.ggml_backend_dev_by_name(name.encode())
    if not device:
        known = [lib.ggml_backend_dev_name(lib.ggml_backend_dev_get(i)).decode() for i in range(lib.ggml_backend_dev_count())]
        raise UsageError(
            f"unknown device {name!r}", hint=f"this build and machine have {', '.join(known)}", parameter="devices"
        )
    return device


def because(complaints: list[str]) -> str:
    """Return the reason that llama.cpp logged last, in parentheses, or an empty string if it logged none."""
    reasons = [line for line in complaints if "failed to load model" not in line]
    if not reasons:
        return ""
    return f" ({reasons[-1].rpartition('error loading model: ')[2].rpartition(': failed: ')[2]})"


def _reason(path: Path, complaints: list[str]) -> LlamacliError:
    text = " ".join(complaints)
    if "unknown model architecture" in text:
        architecture = text.partition("unknown model architecture: ")[2].partition("'")[2].partition("'")[0]
        return ModelUnsupportedError(
            f"{path.name}: this build of llama.cpp does not support the architecture {architecture!r}",
            hint="try a newer version of llamacli",
        )
    if any(phrase in text.lower() for phrase in _OUT_OF_MEMORY):
        return MemoryFullError(
            f"{path.name} does not fit in memory{because(complaints)}",
            hint="use a smaller quantization or a smaller gpu_layers",
            parameter="gpu_layers",
        )
    return ModelFileError(f"llama.cpp cannot load {path.name}{because(complaints)}")
