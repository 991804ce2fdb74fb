"""The options of `tokenize`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from llamacli.backend.child.params import ChildParams
from llamacli.cli.framework.command import Reread
from llamacli.cli.framework.options import (
    ChatOptions,
    EngineTimeoutOption,
    JsonOption,
    KeepAliveOption,
    ModelOption,
    OfflineOption,
    RemoteOptions,
    SandboxOption,
)  # fmt: skip
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.framework.parsers import parse_raw_text
from llamacli.errors import UsageError

_CHILD = ChildParams()

TextArgument = Annotated[
    tuple[str, ...],
    argument(
        metavar="TEXT",
        help="The text; with -f or -r more files, with --detokenize ids; - is standard input.",
        parser=parse_raw_text,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyOptions:
    """The vocabulary. Nothing else of the model is loaded."""

    PANEL: ClassVar[str] = "Model"

    model: ModelOption = None
    offline: OfflineOption = False
    compare: Annotated[
        tuple[str, ...], option("--compare", metavar="MODEL", help="Another model to compare with; can be repeated.")
    ] = ()
    sandbox: SandboxOption = _CHILD.sandbox
    engine_timeout: EngineTimeoutOption = _CHILD.patience
    keep_alive: KeepAliveOption = None

    def child(self) -> ChildParams:
        """The parameters of the engine's process."""
        return ChildParams(sandbox=self.sandbox, patience=self.engine_timeout, keep_alive=self.keep_alive)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOptions:
    """The text, and how it is read."""

    PANEL: ClassVar[str] = "Text"

    file: Annotated[
        tuple[str, ...],
        option(
            "-f",
            "--file",
            metavar="FILE",
            help="A file or a quoted pattern; can be repeated; - is standard input.",
            parser=parse_raw_text,
        ),
    ] = ()
    recursive: Annotated[
        bool, option("-r", "--recursive", help="Read the text files in directories, except those whose names begin with a dot.")
    ] = False
    errors: Annotated[
        Literal["strict", "replace"],
        option("--errors", help="Bytes that are not UTF-8: strict refuses them, replace reads them as U+FFFD."),
    ] = "strict"
    bos: Annotated[
        bool, option("--bos/--no-bos", help="Add the tokens that the model requires around a text, such as BOS and EOS.")
    ] = True
    special: Annotated[
        bool, option("--special/--no-special", help="Parse control tokens in the text as control tokens, not as text.")
    ] = False
    chat: Annotated[
        bool, option("--chat", help="Apply the chat template to TEXT, or to a JSON list of messages in a file.")
    ] = False
    detokenize: Annotated[bool, option("--detokenize", help="Turn ids back into the bytes that they represent.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """The output."""

    PANEL: ClassVar[str] = "Output"

    ids: Annotated[bool, option("--ids", help="Write a JSON list of ids.")] = False
    count: Annotated[
        bool, option("--count", help="Write the number of tokens; for several files a line for each and a total.")
    ] = False
    json: JsonOption = False
    jsonl: Annotated[bool, option("--jsonl", help="Read each line as a text, and write a JSON document per line.")] = False
    by_extension: Annotated[bool, option("--by-extension", help="Write counts by file extension.")] = False
    max: Annotated[int | None, option("--max", help="Exit with status 8 if there are more than N tokens in total.")] = None

    def __post_init__(self) -> None:
        given = [
            name
            for name, is_given in (
                ("--ids", self.ids), ("--jsonl", self.jsonl), ("--json", self.json and not (self.count or self.by_extension)),
                ("--count", self.count and not self.by_extension), ("--by-extension", self.by_extension),
            )
            if is_given
        ]  # fmt: skip
        if len(given) > 1:
            raise UsageError(f"{given[0]} cannot be used with {given[1]}")
        if self.max is not None and self.max < 0:
            raise UsageError("--max must be at least 0")

    @property
    def any(self) -> bool:
        """True if one of them is given."""
        return self.ids or self.count or self.json or self.jsonl or self.by_extension or self.max is not None

    def writes_numbers(self, *, to_terminal: bool) -> bool:
        """Return whether only counts or ids are written, for which nothing is looked up in the vocabulary."""
        return self.count or self.by_extension or self.ids or not (self.json or self.jsonl or to_terminal)


def check_projector(source: TextOptions, remote: RemoteOptions, reread: Reread) -> None:
    """Raise UsageError for a projector where nothing needs one; that of the settings is for other commands, too."""
    for name in ("mmproj", "image_max_tokens"):
        if reread.given(name) and not source.chat:
            raise UsageError(f"--{name.replace('_', '-')} needs --chat")
    if reread.given("mmproj") and remote.url:
        raise UsageError("--mmproj cannot be used with --url: a server does not tell the tokens of images and sounds")


def check_combinations(
    source: TextOptions, output: OutputOptions, chat: ChatOptions, model: VocabularyOptions, remote: RemoteOptions
) -> None:
    """Raise UsageError for options that cannot be combined."""
    if remote.url and model.compare:
        raise UsageError("--compare cannot be used with --url: it compares files")
    if not source.chat and (chat.system_prompt is not None or chat.chat_template is not None):
        raise UsageError("-sys and --chat-template need --chat")
    if source.chat and (model.compare or source.special or not source.bos):
        raise UsageError("--chat cannot be used with --compare, --special or --no-bos: the template adds the special tokens")
    if source.detokenize and (source.chat or model.compare or output.any):
        raise UsageError("--detokenize writes only bytes: it cannot be used with other output options, --chat or --compare")
    if model.compare and (output.ids or output.jsonl or output.by_extension or output.max is not None):
        raise UsageError("--compare writes a comparison: it can be used only with the output options --json and --count")
