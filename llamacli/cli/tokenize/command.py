"""`llamacli tokenize`: how texts become tokens, how many they are, and where vocabularies differ."""

from __future__ import annotations

import codecs
import contextlib
import json as json_format
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ChatOptions, JsonOption, ModelOption, OfflineOption
from llamacli.cli.framework.parameters import argument, option, parse_raw_text
from llamacli.cli.tokenize.input import Input, chat_chunks, find_input, lines_of, spooled
from llamacli.errors import GateError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from llamacli.cli.tokenize.output import Output
    from llamacli.engine.runtime.model import Model
    from llamacli.engine.tokenization.documents import Document
    from llamacli.engine.tokenization.tokenizer import Chunk, NotTokenized, Tokenizer

PROGRESS_DELAY_SECONDS = 0.5

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
    """Which vocabulary. Nothing else of the model is loaded."""

    PANEL: ClassVar[str] = "Model"

    model: ModelOption = None
    offline: OfflineOption = False
    compare: Annotated[
        tuple[str, ...],
        option("--compare", metavar="MODEL", help="Another model to compare with; may be given many times."),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOptions:
    """Where the text is, and how it is read."""

    PANEL: ClassVar[str] = "Text"

    file: Annotated[
        tuple[str, ...],
        option(
            "-f",
            "--file",
            metavar="FILE",
            help="A file or a quoted pattern; may be given many times; - is standard input.",
            parser=parse_raw_text,
        ),
    ] = ()
    recursive: Annotated[
        bool, option("-r", "--recursive", help="The text files in directories, but for those whose names begin with a dot.")
    ] = False
    errors: Annotated[
        Literal["strict", "replace"], option("--errors", help="What is not UTF-8 is an error, or is read as U+FFFD.")
    ] = "strict"
    bos: Annotated[
        bool, option("--bos/--no-bos", help="Add what the model wants around a text: BOS, and EOS if it wants one.")
    ] = True
    special: Annotated[bool, option("--special/--no-special", help="Let control tokens in the text be control tokens.")] = False
    chat: Annotated[
        bool, option("--chat", help="Put TEXT, or a JSON list of messages in a file, through the chat template first.")
    ] = False
    detokenize: Annotated[bool, option("--detokenize", help="Turn ids back into the bytes that they stand for.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What is written."""

    PANEL: ClassVar[str] = "Output"

    ids: Annotated[bool, option("--ids", help="A JSON list of ids.")] = False
    count: Annotated[bool, option("--count", help="How many tokens; with several files a line for each and a total.")] = False
    json: JsonOption = False
    jsonl: Annotated[bool, option("--jsonl", help="Every line is a text, and gets a JSON document on a line.")] = False
    by_extension: Annotated[bool, option("--by-extension", help="Counts by the extensions of the files.")] = False
    max: Annotated[int | None, option("--max", help="Exit with status 8 if there are more than N tokens in all.")] = None

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
            raise UsageError(f"{given[0]} and {given[1]} cannot be combined")
        if self.max is not None and self.max < 0:
            raise UsageError("--max must be a number from 0")


@command(
    examples=(
        ("See how a text is cut.", 'llamacli tokenize "Tokens are not words."'),
        ("Count the tokens of a project.", "llamacli tokenize -r src --by-extension"),
        ("Fail if a prompt grows too long.", "llamacli tokenize --chat -f messages.json --max 4000"),
        ("Compare two vocabularies.", "llamacli tokenize -f book.txt --compare hf:Qwen/Qwen3-0.6B-GGUF"),
        ("Get a text back.", "llamacli tokenize --ids hello | llamacli tokenize --detokenize"),
    )
)
def tokenize(
    app: AppContext,
    text: TextArgument = (),
    *,
    source: TextOptions,
    output: OutputOptions,
    chat: ChatOptions,
    model: VocabularyOptions,
) -> None:
    """Count, show and compare tokens.

    On a terminal the pieces are shown over their ids; otherwise the ids are written, a line for each text. Texts are plain, as
    in all commands: control tokens in them stay text unless --special says otherwise. Files may be of any size; they are
    tokenized on all cores. Of several texts, one that is not UTF-8 has an error in its place and does not stop the others; the
    exit status is then 6. Only the model's vocabulary is loaded.
    """
    check_combinations(source, output, chat, model)
    if source.detokenize:
        detokenize(app, text, source, model)
        return
    replace = source.errors == "replace"
    found = find_input(app, text, source.file, recursive=source.recursive, replace=replace, live=output.jsonl)
    if model.compare:
        compare(app, found, references=(model.model, *model.compare), source=source, output=output, offline=model.offline)
        return
    path = app.find_model(app, model.model, offline=model.offline)
    with load(path) as loaded:
        written = write_tokens(app, loaded, found, source, output, chat)
    if output.max is not None and written.total.tokens > output.max:
        raise GateError(f"{written.total.tokens:,} tokens are more than --max {output.max:,}")
    written.check()


def check_combinations(source: TextOptions, output: OutputOptions, chat: ChatOptions, model: VocabularyOptions) -> None:
    """Refuses options that have no meaning together."""
    if not source.chat and (chat.system_prompt is not None or chat.chat_template is not None):
        raise UsageError("-sys and --chat-template belong to --chat")
    if source.chat and (model.compare or source.special or not source.bos):
        raise UsageError(
            "with --chat the template alone says what is around the text: leave out --compare, --special, --no-bos"
        )
    shows = output.ids or output.count or output.json or output.jsonl or output.by_extension or output.max is not None
    if source.detokenize and (source.chat or model.compare or shows):
        raise UsageError("--detokenize writes bytes and nothing else: the other options of output have no place with it")
    if model.compare and (output.ids or output.jsonl or output.by_extension or output.max is not None):
        raise UsageError("--compare writes a comparison, with --json as a document: --ids and the others have no place with it")


def load(path: Path) -> Model:
    """The vocabulary of a model file."""
    from llamacli.engine.runtime.model import Model

    return Model(path, vocab_only=True)


def write_tokens(
    app: AppContext, model: Model, found: Input, source: TextOptions, output: OutputOptions, chat: ChatOptions
) -> Output:
    """Tokenizes everything, writes it, and returns what knows how much there was, and what went wrong."""
    replace = source.errors == "replace"
    tokenizer = tokenizer_for(model, source)
    documents: Iterable[Document | None] = found.documents
    if output.jsonl:
        documents = (line for document in found.documents for line in lines_of(document))
    with app.interrupts.guard() as guard, app.progress(delay=PROGRESS_DELAY_SECONDS) as bar:
        guard.cancel = tokenizer.cancel
        if source.chat:
            outcomes = chat_chunks(model, documents, chat, as_messages=found.are_files or output.jsonl, replace=replace)
        else:
            outcomes = tokenizer.outcomes(documents)
        written = output_for(app, model, found, output)

        def watched() -> Iterator[Chunk | NotTokenized]:
            for outcome in outcomes:
                yield outcome
                bar.update("tokenizing", written.bytes_done, found.size, unit="B")

        written.write_all(watched(), keeps_going=output.jsonl or len(found.documents) > 1)
        return written


def output_for(app: AppContext, model: Model, found: Input, options: OutputOptions) -> Output:
    """The kind of output that was asked for."""
    from llamacli.cli.tokenize.output import Counts, Ids, Json, View

    several = len(found.documents) > 1
    if options.count or options.by_extension:
        return Counts(app, model.path.name, as_json=options.json, by_extension=options.by_extension)
    if options.json or options.jsonl:
        return Json(app, model.vocabulary, model.path.name, several=several, lines=options.jsonl)
    if options.ids or not app.console.terminals.stdout:
        return Ids(app, as_json=options.ids)
    return View(app, model.vocabulary, several=several)


def detokenize(app: AppContext, words: tuple[str, ...], source: TextOptions, options: VocabularyOptions) -> None:
    """Writes the bytes that ids stand for."""
    from llamacli.cli.tokenize.ids import read_ids
    from llamacli.engine.tokenization.tokenizer import Detokenizer

    if words and not source.file and words != ("-",):
        words = (" ".join(words),)
    documents = find_input(app, words, source.file, live=True).documents
    path = app.find_model(app, options.model, offline=options.offline)
    with load(path) as model:
        turned = Detokenizer(model.vocabulary, special=source.special, wrap=source.bos)
        texts = (turned.document(ids) for document in documents for ids in read_ids(document.blocks(), document.name))
        if app.console.terminals.stdout:
            show_texts(app, texts)
        else:
            for parts in texts:
                for part in parts:
                    app.console.write_bytes(part)


def show_texts(app: AppContext, texts: Iterable[Iterable[bytes]]) -> None:
    """Texts in parts, for a terminal: harmless, and with a newline at the end."""
    last = "\n"
    for parts in texts:
        for last in codecs.iterdecode(parts, "utf-8", errors="backslashreplace"):
            app.console.show(last)
    if not last.endswith("\n"):
        app.console.write("\n")


def compare(
    app: AppContext,
    found: Input,
    *,
    references: tuple[str | None, ...],
    source: TextOptions,
    output: OutputOptions,
    offline: bool,
) -> None:
    """Tokenizes the same with several vocabularies, and writes what is different."""
    from llamacli.cli.tokenize.output import table_width
    from llamacli.engine.tokenization.compare import FIRST
    from llamacli.engine.tokenization.compare import compare as compared
    from llamacli.render.tokenize.json import comparison_document
    from llamacli.render.tokenize.view import format_comparison, model_names

    paths = [app.find_model(app, reference, offline=offline) for reference in references]
    with contextlib.ExitStack() as stack:
        found = spooled(app, found, stack)
        loaded = [tokenizer_for(stack.enter_context(load(path)), source) for path in paths]
        tokenizers = list(zip(model_names(paths), loaded, strict=True))
        guard = stack.enter_context(app.interrupts.guard())
        bar = stack.enter_context(app.progress(delay=PROGRESS_DELAY_SECONDS))

        def cancel() -> None:
            for tokenizer in loaded:
                tokenizer.cancel()

        guard.cancel = cancel
        result = compared(
            tokenizers,
            found.documents,
            first=0 if output.count else FIRST,
            on_progress=lambda done: bar.update("comparing", done, found.size, unit="B"),
        )
    if output.json:
        app.console.write(json_format.dumps(comparison_document(result)) + "\n")
    else:
        text = format_comparison(
            result,
            paint(app),
            several_documents=len(found.documents) > 1,
            with_differences=not output.count,
            width=table_width(app),
        )
        app.console.write(text)


def tokenizer_for(model: Model, source: TextOptions) -> Tokenizer:
    """The tokenizer with what the options say of texts."""
    from llamacli.engine.tokenization.tokenizer import Tokenizer

    return Tokenizer(model, special=source.special, wrap=source.bos, replace=source.errors == "replace")


def paint(app: AppContext) -> Callable[[str, str], str]:
    """How styles are written, if at all."""
    if not app.console.stdout_color:
        return lambda text, _style: text
    return lambda text, style: f"\x1b[{style}m{text}\x1b[0m"
