"""Whether evaluated prompts are kept on disk."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from llamacli.backend.child.params import ChildParams
from llamacli.cli.framework import parsers
from llamacli.cli.framework.parameters import option
from llamacli.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCacheOptions:
    """Whether evaluated prompts are kept on disk, and how many."""

    PANEL: ClassVar[str] = "Context and speed"
    LOADS: ClassVar[bool] = True

    prompt_cache: Annotated[
        bool,
        option(
            "--prompt-cache/--no-prompt-cache",
            help="Keep evaluated prompts on disk, and evaluate none that is there again.",
        ),
    ] = True  # fmt: skip
    cache_size: Annotated[
        int | None,
        option(
            "--cache-size", metavar="SIZE", parser=parsers.parse_size, needs=("prompt_cache",),
            shows="2G, or 5 % of the free disk if that is less",
            help="Size of all prompts on disk, such as 500M; those not used for longest are removed.",
        ),
    ] = None  # fmt: skip

    def child(self, child: ChildParams) -> ChildParams:
        """The parameters of the engine's process with these."""
        return dataclasses.replace(child, prompt_cache=self.prompt_cache, cache_size=self.cache_size)

    def unless(self, private: bool) -> PromptCacheOptions:
        """Return these options, or those that keep nothing if the user wants nothing to be saved."""
        return dataclasses.replace(self, prompt_cache=False) if private else self
