"""The options that `bench roofline` and `bench tune` share: the job, and the setup of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from llamacli.cli.framework.options import ContextOptions, ModelOptions
from llamacli.cli.framework.parameters import option
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.bench.measure.setup import Setup


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """The numbers of tokens."""

    PANEL: ClassVar[str] = "Tests"

    n_prompt: Annotated[int, option("-p", "--n-prompt", help="Number of prompt tokens.", environment=False)] = 512
    n_gen: Annotated[int, option("-n", "--n-gen", help="Number of tokens to generate.", environment=False)] = 64
    n_depth: Annotated[
        int, option("-d", "--n-depth", shows=0, help="Number of tokens already in the context.", environment=False)
    ] = 0

    def __post_init__(self) -> None:
        if min(self.n_prompt, self.n_gen) < 1 or self.n_depth < 0:
            raise UsageError("-p and -n must be at least 1, -d at least 0")
        if self.n_prompt + self.n_gen + self.n_depth >= 2**31:
            raise UsageError("-p, -n and -d together must be less than 2147483648")


def setup_of(model: ModelOptions, context: ContextOptions) -> Setup:
    """Return the setup that the options describe."""
    from llamacli.bench.measure.setup import Setup

    return Setup(model=model.params(), context=context.params())
