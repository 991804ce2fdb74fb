"""Measurements of memory and arithmetic in the shim (`shim_roofline.h`): durations of passes in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llamacli.binding.bridge import Handle, answer, encode
from llamacli.binding.kernels import KERNELS


def read_memory(threads: int, size: int, seconds: float, abort: Any) -> tuple[int, list[float]]:
    """Read `size` bytes repeatedly with `threads` threads, and return the bytes of a pass and the duration of each pass.

    Raises:
        MemoryFullError: if the memory or the threads cannot be allocated.
    """
    found = answer("llamacli_measure_reading", encode({"threads": threads, "bytes": size, "seconds": seconds}), abort)
    return int(found["bytes"]), [float(second) for second in found["seconds"]]


class Products(Handle):
    """Matrix products on one device. `description` has `bytes` and `operations` of a pass, and `buffers` by tensor type.

    `products` are objects with `type`, `columns`, `rows`, `count` and, for a mixture of experts, `experts` and `used`; `tokens`
    is the number of columns that they are multiplied with, and `kernels` what multiplies on the CPU: own or upstream.

    Raises:
        UsageError: if the device or a type is unknown, or a type cannot have this shape.
        ModelError: if the device cannot multiply a type.
        MemoryFullError: if the weights do not fit.
    """

    type_name = "products"

    def __init__(
        self, device: str, products: Sequence[Mapping[str, Any]], tokens: int, repeat: int = 1, *, kernels: str = "own"
    ) -> None:
        request = {
            "device": device, "products": list(products), "tokens": tokens, "repeat": repeat, "kernels": int(KERNELS[kernels]),
        }  # fmt: skip
        super().__init__("llamacli_products_create", encode(request))

    def run(self, threads: int, seconds: float, abort: Any) -> list[float]:
        """Run one untimed pass, then passes for about `seconds`, and return their durations; empty if `abort` was set."""
        with self._lock:
            request = encode({"threads": threads, "seconds": seconds})
            found = answer("llamacli_products_run", self._open(), request, abort)
        return [float(second) for second in found["seconds"]]
