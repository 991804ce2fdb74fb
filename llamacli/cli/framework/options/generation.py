"""The limits of the answer."""

from typing import Annotated, Any, ClassVar

from llamacli.cli.framework.options.draft import DraftProbabilityOption
from llamacli.cli.framework.parameters import option
from llamacli.cli.framework.parsers import parse_draft, parse_escaped, parse_limit
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.values import dataclass

_GENERATION = GenerationParams()


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """The limits of the answer."""

    PANEL: ClassVar[str] = "Answer"

    predict: Annotated[
        int | None,
        option(
            "-n", "--predict", "--n-predict", metavar="N", parser=parse_limit, shows="no limit", sets="max_tokens",
            help="Maximum number of tokens to generate; -1 is no limit.",
        ),
    ] = _GENERATION.max_tokens  # fmt: skip
    stop: Annotated[
        tuple[str, ...],
        option(
            "--stop", metavar="TEXT", parser=parse_escaped,
            help=r"Stop before this text, in which \n is a newline; can be repeated.",
        ),
    ] = _GENERATION.stop  # fmt: skip
    context_shift: Annotated[
        bool,
        option("--context-shift/--no-context-shift", help="When the context is full, drop its oldest tokens and continue."),
    ] = _GENERATION.context_shift
    keep: Annotated[
        int,
        option(
            "--keep", shows=_GENERATION.keep,
            help="Number of first tokens that --context-shift keeps; -1 keeps the whole prompt.",
        ),
    ] = _GENERATION.keep  # fmt: skip

    draft: Annotated[
        int | None,
        option(
            "--draft", metavar="auto|off|N", parser=parse_draft, shows="auto",
            help="Most tokens to guess, from repetitions or by -md, and evaluate together; auto guesses where that is faster.",
        ),
    ] = _GENERATION.draft  # fmt: skip
    draft_p_min: DraftProbabilityOption = _GENERATION.draft_p_min

    def params(self, sampling: SamplingParams, **other: Any) -> GenerationParams:
        """The engine's parameters; `other` are fields of GenerationParams that no option sets."""
        return GenerationParams(
            max_tokens=self.predict,
            stop=self.stop,
            context_shift=self.context_shift,
            keep=self.keep,
            sampling=sampling,
            draft=self.draft,
            draft_p_min=self.draft_p_min,
            **other,
        )
