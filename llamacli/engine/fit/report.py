"""The result of a memory check: what each device would hold, and the settings with which the model fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MARGIN = 256 << 20
"""Bytes to leave free on each device other than the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceShare:
    """Memory of one device in bytes: what is free, and what the model would take. `free` is None if the system does not say.

    `program` is the process itself: interpreter, libraries and vocabulary. `projector` is about what the projector of pictures
    and sounds takes while it encodes, `draft` what the draft model takes, or the context of the model's own layers for drafts.
    """

    name: str
    description: str
    host: bool
    free: int | None
    weights: int
    cache: int
    compute: int
    program: int = 0
    projector: int = 0
    draft: int = 0

    @property
    def needed(self) -> int:
        """The sum of all parts, in bytes."""
        return self.weights + self.cache + self.compute + self.program + self.projector + self.draft

    @property
    def room(self) -> int | None:
        """Bytes that would remain free, less a margin on a GPU; negative if the share does not fit."""
        return None if self.free is None else self.free - self.needed - (0 if self.host else MARGIN)

    @property
    def fits(self) -> bool:
        """True if the device has room for its share."""
        return self.room is None or self.room >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """The result for one model. Contexts are in tokens for each of `sequences`.

    `largest_context` is the largest that fits with all other parameters unchanged, up to the trained length; 0 if none fits.
    `settings` are values of engine parameters (`n_ctx`, `cache_type_k`, `cache_type_v`, `gpu_layers`) with which the model
    fits; empty if nothing helps. `is_estimate`: computed by a formula from the header.
    """

    devices: tuple[DeviceShare, ...]
    context: int
    sequences: int
    trained_context: int
    layers: int
    gpu_layers: int | None
    largest_context: int
    settings: Mapping[str, int | str]
    is_estimate: bool

    @property
    def fits(self) -> bool:
        """True if the model fits with the requested parameters."""
        return all(device.fits for device in self.devices)

    @property
    def total(self) -> int:
        """Bytes on all devices."""
        return sum(device.needed for device in self.devices)
