"""The options that only `llamacli run` has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from llamacli.cli.framework.options import ChatOptions, GenerationOptions, ModelOptions, SamplingOptions
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.framework.parsers import parse_limit
from llamacli.engine.params import ContextParams, ModelParams, SamplingParams

DELAY_SECONDS = 0.5
"""Loading, or reading the prompt, shows a progress bar only if it takes longer."""

PromptArgument = Annotated[
    str | None,
    argument(metavar="PROMPT", help="The question or instruction; - is standard input."),
]


def parse_place(text: str) -> tuple[int, int]:
    """LINE:COL, both from 1."""
    line, colon, column = text.partition(":")
    if not (line.isdecimal() and int(line) > 0 and (not colon or (column.isdecimal() and int(column) > 0))):
        raise ValueError(f"'{text}' is not LINE:COL, such as 12:5")
    return int(line), int(column) if colon else 1


def parse_choices(text: str) -> tuple[str, ...]:
    r"""Texts with commas between; `\,` is a comma."""
    choices = tuple(part.replace("\0", ",").strip() for part in text.replace("\\,", "\0").split(","))
    if not all(choices):
        raise ValueError(f"'{text}' holds an empty choice")
    return choices


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptOptions:
    """What the prompt is made of."""

    PANEL: ClassVar[str] = "Prompt"

    file: Annotated[
        tuple[Path, ...],
        option(
            "-f", "--file", metavar="FILE", help="Text to put before the prompt; may be given many times; - is standard input."
        ),
    ] = ()
    raw: Annotated[bool, option("--raw", help="Continue the text as it is, without a chat template.")] = False
    messages: Annotated[
        Path | None,
        option(
            "--messages",
            metavar="FILE",
            help="A whole conversation, as OpenAI's JSON; a prompt comes after it, -sys in place of its system message.",
            environment=False,
        ),
    ] = None
    infill: Annotated[
        str | None,
        option("--infill", metavar="PREFIX SUFFIX", help="Write what stands between two texts.", environment=False),
    ] = None
    at: Annotated[
        tuple[int, int] | None,
        option("--at", metavar="LINE:COL", parser=parse_place, help="Fill in at this place of the file -f.", environment=False),
    ] = None
    dry_run: Annotated[
        bool, option("--dry-run", help="Write the prompt as the model would get it, and its length.", environment=False)
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstraintOptions:
    """What the answer is held to. At most one of these."""

    PANEL: ClassVar[str] = "Structured output"

    json_schema: Annotated[
        str | None, option("-j", "--json-schema", metavar="SCHEMA", help="The answer is JSON that fits this JSON schema.")
    ] = None
    json_schema_file: Annotated[
        Path | None, option("-jf", "--json-schema-file", metavar="FILE", help="The same, the schema from a file.")
    ] = None
    grammar: Annotated[str | None, option("--grammar", metavar="GBNF", help="The answer matches this grammar.")] = None
    grammar_file: Annotated[
        str | None,
        option("--grammar-file", metavar="FILE", help="The same, from a file, or the name of a built-in grammar."),
    ] = None
    regex: Annotated[str | None, option("--regex", metavar="RE", help="The answer matches this regular expression.")] = None
    choices: Annotated[
        tuple[str, ...],
        option("--choices", metavar="A,B,C", parser=parse_choices, help="The answer is one of these texts."),
    ] = ()
    strict: Annotated[
        bool, option("--strict", help="Refuse a schema of which a keyword cannot be enforced, instead of warning.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOptions:
    """What the model may call."""

    PANEL: ClassVar[str] = "Tools"

    tools: Annotated[Path | None, option("--tools", metavar="FILE", help="Tools as OpenAI's JSON list.")] = None
    tool_choice: Annotated[
        str,
        option(
            "--tool-choice",
            metavar="auto|none|required|NAME",
            shows="auto",
            help="Whether a tool may, may not or must be called, or which must be.",
        ),
    ] = "auto"
    parallel_tool_calls: Annotated[
        bool, option("--parallel-tool-calls/--no-parallel-tool-calls", help="Let the model call several tools at once.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningOptions:
    """How a model that thinks first does it."""

    PANEL: ClassVar[str] = "Reasoning"

    reasoning: Annotated[
        Literal["auto", "on", "off"], option("--reasoning", shows="auto", help="Whether the model thinks before it answers.")
    ] = "auto"
    reasoning_budget: Annotated[
        int | None,
        option("--reasoning-budget", metavar="N", parser=parse_limit, shows="no limit", help="Most tokens of thinking."),
    ] = None
    hide_reasoning: Annotated[bool, option("--hide-reasoning", help="Do not show what the model thinks.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """How the answer is written, and what else."""

    PANEL: ClassVar[str] = "Output"

    json: Annotated[bool, option("--json", help="Write one JSON document, OpenAI's chat.completion.", environment=False)] = (
        False
    )
    stream_json: Annotated[
        bool, option("--stream-json", help="Write OpenAI's chunks as they come, one a line.", environment=False)
    ] = False
    logprobs: Annotated[
        int | None,
        option("--logprobs", metavar="N", shows="none", help="With --json: log probabilities, of the N best tokens too."),
    ] = None
    samples: Annotated[int, option("--samples", metavar="N", shows=1, help="How many answers to write.")] = 1
    extract: Annotated[bool, option("-x", "--extract", help="Write only the first fenced code block.", environment=False)] = (
        False
    )
    echo: Annotated[bool, option("--echo", help="Write the prompt, too.", environment=False)] = False
    stats: Annotated[bool, option("--stats", help="Say on standard error how long it took.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StateOptions:
    """Keeping what was evaluated."""

    PANEL: ClassVar[str] = "Saved state"

    save_state: Annotated[
        Path | None, option("--save-state", metavar="FILE", help="Save the evaluated prompt.", environment=False)
    ] = None
    load_state: Annotated[
        Path | None,
        option(
            "--load-state",
            metavar="FILE",
            help="Begin with a saved state: what the prompt shares with it is not evaluated again. The last token is then "
            "evaluated alone and rounded differently: of two that are almost as probable --temp 0 may choose the other.",
            environment=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options that say what is asked and how it is answered."""

    chat: ChatOptions
    source: PromptOptions
    tools: ToolOptions
    reasoning: ReasoningOptions
    constraint: ConstraintOptions
    generation: GenerationOptions
    sampling: SamplingOptions

    def check(self, *, logprobs: int | None = None) -> None:
        """Check the numbers before a model is loaded. Raises UsageError."""
        self.sampling.params()
        self.generation.params(SamplingParams(), logprobs=logprobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The model, and how it is loaded."""

    model: ModelOptions
    params: ModelParams
    context: ContextParams
