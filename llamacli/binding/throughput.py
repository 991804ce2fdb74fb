"""The shim's measurements of memory and arithmetic (`shim_roofline.h`): durations of passes, in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llamacli.binding.bridge import Handle, answer, encode


def read_memory(threads: int, size: int, seconds: float, abort: Any) -> tuple[int, list[float]]:
    """Reads `size` bytes again and again with so many threads: the bytes of a pass, and how long each pass took.

    Raises:
        MemoryFullError: there is no room for so many bytes or threads.
    """
    found = answer("llamacli_measure_reading", encode({"threads": threads, "bytes": size, "seconds": seconds}), abort)
    return int(found["bytes"]), [float(second) for second in found["seconds"]]


class Products(Handle):
    """Matrix products on one device. `description` holds `bytes` and `operations` of a pass, and `buffers` by tensor type.

    `products` are objects with `type`, `columns`, `rows`, `count` and, for a mixture, `experts` and `used`; `tokens`: how many
    columns they are multiplied with.

    Raises:
        UsageError: no such device or type, or a shape that the type cannot have.
        ModelError: the device cannot multiply this type.
        MemoryFullError: the weights do not fit.
    """

    type_name = "products"

    def __init__(self, device: str, products: Sequence[Mapping[str, Any]], tokens: int, repeat: int = 1) -> None:
        request = {"device": device, "products": list(products), "tokens": tokens, "repeat": repeat}
        super().__init__("llamacli_products_create", encode(request))

    def run(self, threads: int, seconds: float, abort: Any) -> list[float]:
        """One pass that is not timed, then passes for about so long: how long each took. Empty if `abort` was set."""
        with self._lock:
            request = encode({"threads": threads, "seconds": seconds})
            found = answer("llamacli_products_run", self._open(), request, abort)
        return [float(second) for second in found["seconds"]]
