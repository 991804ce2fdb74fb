"""What `bench roofline` and `bench tune` have in common: the job, and the way of running a model that the options stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from llamacli.cli.framework.options import ContextOptions, ModelOptions
from llamacli.cli.framework.parameters import option
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.bench.measure.trial import Way


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """How many tokens are read and generated."""

    PANEL: ClassVar[str] = "Tests"

    n_prompt: Annotated[int, option("-p", "--n-prompt", help="Tokens of the prompt.", environment=False)] = 512
    n_gen: Annotated[int, option("-n", "--n-gen", help="Tokens to generate.", environment=False)] = 64
    n_depth: Annotated[
        int, option("-d", "--n-depth", shows=0, help="Tokens that are in the context before.", environment=False)
    ] = 0

    def __post_init__(self) -> None:
        if min(self.n_prompt, self.n_gen) < 1 or self.n_depth < 0:
            raise UsageError("-p and -n take numbers from 1, -d from 0")
        if self.n_prompt + self.n_gen + self.n_depth >= 2**31:
            raise UsageError("-p, -n and -d are too large")


def way_of(model: ModelOptions, context: ContextOptions) -> Way:
    """The way of running a model that the options stand for."""
    from llamacli.bench.measure.trial import Way

    return Way(model=model.params(), context=context.params())
