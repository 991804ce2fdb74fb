"""`llamacli tokenize`: the tokens of texts, their number, and the differences between vocabularies."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from llamacli.cli.framework.command import Reread, command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ChatOptions, ProjectorOptions, RemoteOptions
from llamacli.cli.tokenize.options import (
    OutputOptions,
    TextArgument,
    TextOptions,
    VocabularyOptions,
    check_combinations,
    check_projector,
)
from llamacli.errors import GateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llamacli.cli.tokenize.input import Input
    from llamacli.cli.tokenize.output import Output
    from llamacli.engine.tokenization.documents import Chunk, Document, NotTokenized, TokenTable


@command(
    examples=(
        ("See the tokens of a text.", 'llamacli tokenize "Tokens are not words."'),
        ("Count the tokens of a project.", "llamacli tokenize -r src --by-extension"),
        ("Fail if a prompt grows too long.", "llamacli tokenize --chat -f messages.json --max 4000"),
        ("Compare two vocabularies.", "llamacli tokenize -f book.txt --compare hf:Qwen/Qwen3-0.6B-GGUF"),
        ("Turn ids back into text.", "llamacli tokenize --ids hello | llamacli tokenize --detokenize"),
    ),
    common=("-m", "-f", "-r", "--ids", "--detokenize", "--count", "--max", "--compare", "--chat", "--json"),
)
def tokenize(
    app: AppContext,
    text: TextArgument = (),
    *,
    source: TextOptions,
    output: OutputOptions,
    chat: ChatOptions,
    model: VocabularyOptions,
    projector: ProjectorOptions,
    remote: RemoteOptions,
    reread: Reread,
) -> None:
    """Count, show and compare tokens.

    On a terminal the pieces are shown over their ids; otherwise the ids are written, a line for each text. Texts are plain, as
    in all commands: control tokens in them stay text unless --special is given. Files may be of any size; they are tokenized
    on all cores. Among several texts, one that is not UTF-8 has an error in its place and does not stop the others; the exit
    status is then 6. Only the model's vocabulary is loaded.

    With --chat the tokens of images and sounds in messages are counted, too, with the model's projector: --mmproj, or the one
    beside the model. Their ids are negative numbers, equal ones for equal pictures.

    With --url a server that has /tokenize makes the tokens, as llamacli serve and llama-server do.
    """
    from llamacli.cli.tokenize.input import find_input

    check_combinations(source, output, chat, model, remote)
    check_projector(source, remote, reread)
    if source.detokenize:
        from llamacli.cli.tokenize.detokenize import detokenize

        detokenize(app, text, source, model, remote)
        return
    replace = source.errors == "replace"
    found = find_input(app, text, source.file, recursive=source.recursive, replace=replace, live=output.jsonl)
    if model.compare:
        from llamacli.cli.tokenize.comparison import compare

        compare(app, found, model, source=source, output=output)
        return
    written = write_tokens(app, found, source, output, chat, model, projector, remote)
    if output.max is not None and written.total.tokens > output.max:
        raise GateError(f"{written.total.tokens:,} tokens exceed --max {output.max:,}")
    written.check()


def write_tokens(
    app: AppContext,
    found: Input,
    source: TextOptions,
    output: OutputOptions,
    chat: ChatOptions,
    model: VocabularyOptions,
    projector: ProjectorOptions,
    remote: RemoteOptions,
) -> Output:
    """Tokenize and write everything, and return the output with its counts and errors."""
    from llamacli.cli.tokenize import vocabulary
    from llamacli.cli.tokenize.input import lines_of

    with vocabulary.open_vocabulary(app, model, remote) as (loaded, name), ExitStack() as stack:
        describes = not output.writes_numbers(to_terminal=app.console.terminals.stdout)
        tokenizer = vocabulary.text_tokenizer(loaded, source, describes=describes)
        documents: Iterable[Document | None] = found.documents
        if output.jsonl:
            documents = (line for document in found.documents for line in lines_of(document))
        with app.interrupts.guard() as guard, app.progress(delay=vocabulary.PROGRESS_DELAY_SECONDS) as bar:
            guard.cancel = loaded.cancel
            if source.chat:
                from llamacli.backend.child.decoder import decoding_in_child
                from llamacli.cli.tokenize.conversations import ConversationTokenizer, conversations_of

                stack.enter_context(decoding_in_child(model.child()))
                are_messages, replace = found.are_files or output.jsonl, source.errors == "replace"
                conversations = conversations_of(documents, chat.system_prompt, are_messages=are_messages, replace=replace)
                chats = stack.enter_context(ConversationTokenizer(app, model, None if remote.url else projector, loaded))
                guard.cancel = chats.cancel
                table = tokenizer.vocabulary if describes else None
                outcomes = chats.outcomes(conversations, template=chat.template(), table=table)
            else:
                outcomes = tokenizer.outcomes(documents)
            written = output_for(app, name, tokenizer.vocabulary, found, output)

            def with_progress() -> Iterator[Chunk | NotTokenized]:
                for outcome in outcomes:
                    yield outcome
                    bar.update("tokenizing", written.bytes_done, found.size, unit="B")

            written.write_all(with_progress(), keep_going=output.jsonl or len(found.documents) > 1)
            return written


def output_for(app: AppContext, model: str, vocabulary: TokenTable, found: Input, options: OutputOptions) -> Output:
    """Return the output that the options select."""
    from llamacli.cli.tokenize.output import Counts, Ids

    several = len(found.documents) > 1
    if options.count or options.by_extension:
        return Counts(app, model, as_json=options.json, by_extension=options.by_extension)
    if options.writes_numbers(to_terminal=app.console.terminals.stdout):
        return Ids(app, as_json=options.ids)
    from llamacli.cli.tokenize.token_output import Json, View

    if options.json or options.jsonl:
        return Json(app, vocabulary, model, several=several, lines=options.jsonl)
    return View(app, vocabulary, several=several)
