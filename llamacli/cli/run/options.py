"""Options of `llamacli run` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from llamacli.cli.framework.index.options import IndexOptions
from llamacli.cli.framework.inputs.documents import Access
from llamacli.cli.framework.options import (
    ChatOptions,
    DocumentOptions,
    GenerationOptions,
    ProjectorOptions,
    SamplingOptions,
    ShowTextOption,
    TemplateOptions,
    ToolCallOptions,
)
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.framework.parsers import parse_limit, parse_raw_text
from llamacli.engine.params import SamplingParams
from llamacli.values import dataclass

PromptArgument = Annotated[
    str | None,
    argument(metavar="PROMPT", help="Question or instruction; - is standard input."),
]

ShardsArgument = Annotated[
    tuple[str, ...],
    argument(metavar="SHARD", help="With --merge: the files with the results of shards.", parser=parse_raw_text),
]


def parse_place(text: str) -> tuple[int, int]:
    """Parse LINE:COL, both from 1."""
    line, colon, column = text.partition(":")
    if not (line.isdecimal() and int(line) > 0 and (not colon or (column.isdecimal() and int(column) > 0))):
        raise ValueError(f"'{text}' is not LINE:COL, such as 12:5")
    return int(line), int(column) if colon else 1


def parse_choices(text: str) -> tuple[str, ...]:
    r"""Parse comma-separated texts; `\,` is a comma."""
    choices = tuple(part.replace("\0", ",").strip() for part in text.replace("\\,", "\0").split(","))
    if not all(choices):
        raise ValueError(f"'{text}' contains an empty choice")
    return choices


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptOptions(DocumentOptions):
    """The parts of the prompt."""

    show_text: ShowTextOption = False
    raw: Annotated[bool, option("--raw", help="Continue the text unchanged, without a chat template.")] = False
    messages: Annotated[
        Path | None,
        option(
            "--messages",
            metavar="FILE",
            help="JSON file of messages as in OpenAI's API; a prompt is appended, -sys replaces the system message.",
            environment=False,
        ),
    ] = None
    infill: Annotated[
        str | None,
        option("--infill", metavar="PREFIX SUFFIX", help="Fill in the middle between two texts.", environment=False),
    ] = None
    at: Annotated[
        tuple[int, int] | None,
        option("--at", metavar="LINE:COL", parser=parse_place, help="Fill in at this position of -f.", environment=False),
    ] = None
    dry_run: Annotated[
        bool, option("--dry-run", help="Write the rendered prompt and its length, without generating.", environment=False)
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaOptions(ProjectorOptions):
    """Images and sound that go with the prompt."""

    PANEL: ClassVar[str] = "Images and sound"

    image: Annotated[
        tuple[str, ...],
        option(
            "--image", metavar="FILE", environment=False, parser=parse_raw_text,
            help="Image for the model, as -f recognizes it; can be repeated; - is standard input.",
        ),
    ] = ()  # fmt: skip
    audio: Annotated[
        tuple[str, ...],
        option(
            "--audio", metavar="FILE", environment=False, parser=parse_raw_text,
            help="Sound for the model, as -f recognizes it; can be repeated; - is standard input.",
        ),
    ] = ()  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstraintOptions:
    """The constraint of the answer, at most one."""

    PANEL: ClassVar[str] = "Structured output"

    json_schema: Annotated[
        str | None, option("-j", "--json-schema", metavar="SCHEMA", help="Constrain the answer to this JSON schema.")
    ] = None
    json_schema_file: Annotated[
        Path | None,
        option("-jf", "--json-schema-file", metavar="FILE", help="Constrain the answer to a schema in a file."),
    ] = None
    json_compact: Annotated[
        bool,
        option(
            "--json-compact",
            help="Allow no blanks and line ends between the parts of JSON: fewer tokens, and keys that need no time; the "
            "model may answer otherwise than in its own layout.",
        ),
    ] = False
    grammar: Annotated[str | None, option("--grammar", metavar="GBNF", help="Constrain the answer to a GBNF grammar.")] = None
    grammar_file: Annotated[
        str | None,
        option(
            "--grammar-file",
            metavar="FILE",
            help="Constrain the answer to the grammar in this file, or to a built-in grammar by name.",
        ),
    ] = None
    regex: Annotated[str | None, option("--regex", metavar="RE", help="Constrain the answer to a regular expression.")] = None
    choices: Annotated[
        tuple[str, ...],
        option(
            "--choices",
            metavar="A,B,C",
            parser=parse_choices,
            help="Constrain the answer to one of these texts.",
        ),
    ] = ()
    strict: Annotated[
        bool,
        option(
            "--strict",
            help="Refuse what cannot be enforced of a schema, or what the server of --url cannot do, instead of warning.",
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOptions:
    """The tools of the model."""

    PANEL: ClassVar[str] = "Tools"

    tools: Annotated[Path | None, option("--tools", metavar="FILE", help="JSON file of tools as in OpenAI's API.")] = None
    tool_choice: Annotated[
        str,
        option(
            "--tool-choice",
            metavar="auto|none|required|NAME",
            shows="auto",
            help="Whether the model may, must not or must call a tool, or the tool that it must call.",
        ),
    ] = "auto"
    run_tools: Annotated[
        bool,
        option(
            "--run-tools",
            help="Run the tools that the model calls, by the commands of --tools and by --mcp, until it answers.",
            environment=False,
        ),
    ] = False
    parallel_tool_calls: Annotated[
        bool,
        option(
            "--parallel-tool-calls/--no-parallel-tool-calls",
            needs=("tools", "mcp", "input"),
            help="Allow several tool calls in one answer.",
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningOptions:
    """Reasoning before the answer."""

    PANEL: ClassVar[str] = "Reasoning"

    reasoning: Annotated[
        Literal["auto", "on", "off"], option("--reasoning", shows="auto", help="Reasoning before the answer.")
    ] = "auto"
    reasoning_budget: Annotated[
        int | None,
        option(
            "--reasoning-budget", metavar="N", parser=parse_limit, shows="no limit", help="Maximum number of reasoning tokens."
        ),
    ] = None
    hide_reasoning: Annotated[bool, option("--hide-reasoning", help="Do not show the reasoning.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """The form of the output."""

    PANEL: ClassVar[str] = "Output"

    json: Annotated[bool, option("--json", help="Write one JSON document as in OpenAI's API.", environment=False)] = False
    stream_json: Annotated[
        bool, option("--stream-json", help="Stream JSON chunks as in OpenAI's API, one a line.", environment=False)
    ] = False
    logprobs: Annotated[
        int | None,
        option(
            "--logprobs",
            metavar="N",
            shows="none",
            help="With --json, report log probabilities, with the N most probable tokens at each position.",
        ),
    ] = None
    samples: Annotated[int, option("--samples", metavar="N", shows=1, help="Number of answers.")] = 1
    extract: Annotated[bool, option("-x", "--extract", help="Write only the first fenced code block.", environment=False)] = (
        False
    )
    plain: Annotated[
        bool, option("--plain", help="Show the answer as plain text on a terminal, without rendering Markdown.")
    ] = False
    echo: Annotated[bool, option("--echo", help="Write the prompt before the answer.", environment=False)] = False
    stats: Annotated[bool, option("--stats", help="Print statistics on standard error.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StateOptions:
    """The state of the evaluated prompt."""

    PANEL: ClassVar[str] = "Saved state"

    save_state: Annotated[
        Path | None, option("--save-state", metavar="FILE", help="Save the state of the evaluated prompt.", environment=False)
    ] = None
    load_state: Annotated[
        Path | None,
        option(
            "--load-state",
            metavar="FILE",
            help="Start from a saved state: the prefix that the prompt shares with it is not evaluated again. The last token "
            "is then evaluated alone and rounds differently, so that --temp 0 can choose another of two near-equal tokens.",
            environment=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options that say what is asked and how it is answered. `expects_allowed`: the tools of --allow-tool must exist."""

    template: TemplateOptions
    chat: ChatOptions
    source: PromptOptions
    access: Access
    media: MediaOptions
    tools: ToolOptions
    tool_calls: ToolCallOptions
    reasoning: ReasoningOptions
    constraint: ConstraintOptions
    generation: GenerationOptions
    sampling: SamplingOptions
    index: IndexOptions
    expects_allowed: bool = False

    def check(self, *, logprobs: int | None = None) -> None:
        """Check the numbers before a model is loaded. Raises UsageError."""
        self.sampling.params()
        self.generation.params(SamplingParams(), logprobs=logprobs)
