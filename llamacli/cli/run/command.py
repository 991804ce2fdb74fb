"""`llamacli run`: one prompt, one answer or several, streamed or as a document; or many rows.

The parts: `options` declares, `prompt` and `constraint` read what is asked, `session` loads and answers, `output` writes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llamacli.cli.framework.backends.engine import ModelSetup
from llamacli.cli.framework.command import Reread, command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.index.options import IndexOptions
from llamacli.cli.framework.options import (
    ChatOptions,
    ContextOptions,
    GenerationOptions,
    ModelOptions,
    PromptCacheOptions,
    RemoteOptions,
    ResidentOptions,
    SamplingOptions,
    TemplateOptions,
    ToolCallOptions,
)
from llamacli.cli.framework.spellings.suggest import unexpected
from llamacli.cli.run.batch_options import RowOptions, check_rows
from llamacli.cli.run.log_options import LogOptions
from llamacli.cli.run.options import (
    Asked,
    ConstraintOptions,
    MediaOptions,
    OutputOptions,
    PromptArgument,
    PromptOptions,
    ReasoningOptions,
    ShardsArgument,
    StateOptions,
    ToolOptions,
)
from llamacli.errors import UsageError


@command(
    examples=(
        ("Ask a question.", 'llamacli run "Why is the sky blue?"'),
        ("Summarize a document.", 'llamacli run -f report.pdf "Summarize this in one sentence."'),
        ("Ask about an image.", 'llamacli run -m model.gguf -f photo.webp "What is this?"'),
        ("Use it in a pipeline.", 'git diff | llamacli run -n 60 "Write a commit message."'),
        ("Use a prompt template.", "llamacli run -T translate --var language=French -f letter.txt"),
        ("Continue a text with the best token each time.", 'llamacli run --raw --temp 0 -n 20 "Once upon a time"'),
        ("Get JSON that fits a schema.", """llamacli run -jf person.json "Invent a person." | jq .name"""),
        ("Get one of three words.", 'llamacli run --choices good,bad,unclear "Is this good? It broke."'),
        ("See which tools the model would call.", 'llamacli run --tools tools.json --json "Is it raining?"'),
        ("Let it call them.", 'llamacli run --tools tools.json --run-tools "Is it raining?"'),
        ("Answer from your files.", 'llamacli run --index notes.db "What about the garden?"'),
        ("Answer thousands of prompts.", "llamacli run --input rows.jsonl --output results.jsonl"),
        ("Ask the model of a server.", 'llamacli run --url http://localhost:8080 "Why is the sky blue?"'),
        ("Go on with the last answer in the log.", 'llamacli run -C "And in one sentence?"'),
        ("Get the code alone.", 'llamacli run -x "Write a shell loop over all PNG files." > loop.sh'),
    ),
    common=(
        "-m",
        "-f",
        "-sys",
        "-T",
        "-n",
        "--temp",
        "-c",
        "-j",
        "--choices",
        "-x",
        "--json",
        "--index",
        "--input",
        "--output",
        "--url",
    ),
)
def run(
    app: AppContext,
    prompt: PromptArgument = None,
    shards: ShardsArgument = (),
    *,
    template: TemplateOptions,
    chat: ChatOptions,
    source: PromptOptions,
    media: MediaOptions,
    model: ModelOptions,
    generation: GenerationOptions,
    output: OutputOptions,
    constraint: ConstraintOptions,
    rows: RowOptions,
    tools: ToolOptions,
    tool_calls: ToolCallOptions,
    reasoning: ReasoningOptions,
    sampling: SamplingOptions,
    context: ContextOptions,
    state: StateOptions,
    index: IndexOptions,
    prompt_cache: PromptCacheOptions,
    log: LogOptions,
    resident: ResidentOptions,
    remote: RemoteOptions,
    reread: Reread,
) -> None:
    """Stream an answer to a prompt.

    The prompt is the argument, files (-f), piped text, or all of them: files and piped text come first, as the material, and
    the argument last, as the instruction. The answer goes to standard output and ends with a newline; everything else goes to
    standard error. With --raw and redirected standard output, the text is exactly what the model wrote.

    In a loop such as `while read`, standard input is left to the loop unless - requests it. Beside a PROMPT it is not read if
    it has no data within a second and nothing writes to it, as under ssh, cron or CI. A note says so, and when it is waited
    for; --no-stdin ignores it.

    With -j, --grammar, --regex or --choices the answer fits its constraint, or the exit status is 5: for an invalid grammar or
    schema, an answer that was cut, or one that does not fit the schema. Tool calls are the last line, as JSON.

    With --run-tools they run, and the model goes on with their results, until it answers. Nothing runs without consent: a tool
    that --allow-tool does not name is asked about, and without a terminal it is not offered. Calls, results and what the model
    says before its answer go to standard error, and to "messages" of --json. A tool that fails is the model's to deal with;
    after --max-tool-calls the exit status is 8. A constraint is for the answer, not for the calls.

    Images and sounds go with the prompt, if the model takes them: -f recognizes them, and --image and --audio name them. Their
    projector is found beside the model or in its repository, or --mmproj names it (`llamacli help images`).

    With --input each row of a file is answered, many at once; the result of a row that fails is an error object in its place,
    and the exit status is then 6. --shard K/N answers a part of the rows, and --merge OUT joins the parts' results;
    --dask shares them among the workers of a cluster.

    With --index the passages of an index (`llamacli embed index`) that fit the prompt come first, as numbered quotations. The
    answer cites them, as in [1]; the places follow on standard error, and with --json they are data.

    With --log, or `log = true` in the settings, prompts and answers are kept on this machine; `llamacli log` shows them, and -C
    goes on with the last one. Rows of --input are not kept.

    With --url a server answers. What it cannot do is said before the answer, and is an error with --strict. Constraints are
    checked here, whoever generated the answer; an answer that the server breaks off stays, and the exit status is then 7.
    """
    from llamacli.cli.framework.inputs.prompt import read_documents, show_texts
    from llamacli.cli.run.session import answer_prompt, answer_rows, show_prompt

    if rows.merge is not None and rows.input is None:
        from llamacli.cli.run.merge import merge_shards

        check_rows(replace(rows, merge=None))
        merge_shards(app, rows.merge, tuple(Path(word) for word in (*((prompt,) if prompt else ()), *shards)))
        return
    check_documents(source, rows)
    if shards:
        raise unexpected(shards, prompt)
    check_tools(tools, tool_calls, source, output, rows, reread)
    check(output, rows, state, log)
    if rows.input is not None and log.log and reread.given("log"):  # of the settings, it is about prompts
        raise not_for_rows("--log")
    if log.continues:
        check_for_log(source)
    if index.index is not None:
        index = check_for_index(source, index, rows, is_given=reread.given("index"))
    if rows.dask is not None and remote.url:
        raise UsageError("--dask cannot be used with --url")
    if remote.url:
        check_for_server(source, output, state)
        if constraint.json_compact:
            raise UsageError("--json-compact cannot be used with --url: a server decides about blanks itself")
    asked = Asked(
        template=template,
        chat=chat,
        source=source,
        access=source.access(offline=model.offline, child=resident.child(model)),
        media=media,
        tools=tools,
        tool_calls=tool_calls,
        reasoning=reasoning,
        constraint=constraint,
        generation=generation,
        sampling=sampling,
        index=index,
        expects_allowed=reread.given("allow_tool"),
    )
    setup = ModelSetup(
        model=model,
        params=model.params(),
        context=context.params(n_seq_max=output.samples, kv_unified=output.samples > 1),
        child=prompt_cache.child(resident.child(model)),
        remote=remote,
        strict=constraint.strict,
    )
    if source.show_text:
        show_texts(app.console, read_documents(app.console, prompt, source.file, asked.access))
    elif rows.input is not None:
        answer_rows(app, prompt, asked, setup, rows)
    elif source.dry_run:
        show_prompt(app, prompt, asked, setup, log, json=output.json)
    else:
        answer_prompt(app, prompt, asked, setup, output, state, log)


def check(output: OutputOptions, rows: RowOptions, state: StateOptions, log: LogOptions) -> None:
    """Check that the options can be used together. Raises UsageError if not."""
    check_output(output)
    check_rows(rows)
    if rows.input is not None:
        check_for_rows(output, state, log)


def check_documents(source: PromptOptions, rows: RowOptions) -> None:
    """Check that the options of documents can be used. Raises UsageError if not."""
    if source.recursive and not source.file:
        raise UsageError("-r needs -f, which names a folder", hint="the text that ends an answer is --stop")
    if source.show_text and rows.input is not None:
        raise UsageError("--show-text cannot be used with --input", hint="it shows documents, which are not rows")


def check_output(output: OutputOptions) -> None:
    """Check that the output options can be used together. Raises UsageError if not."""
    if output.json and output.stream_json:
        raise UsageError("--json cannot be used with --stream-json")
    if output.extract and (output.json or output.stream_json):
        raise UsageError("-x writes text: it cannot be used with --json or --stream-json")
    if output.logprobs is not None and not (output.json or output.stream_json):
        raise UsageError("--logprobs needs --json or --stream-json")


def check_for_rows(output: OutputOptions, state: StateOptions, log: LogOptions) -> None:
    """Check that no option is for one prompt only. Raises UsageError if one is."""
    for given, name in (
        (output.json, "--json"), (output.stream_json, "--stream-json"), (output.samples != 1, "--samples"),
        (output.extract, "-x"), (output.echo, "--echo"),
        (state.save_state, "--save-state"), (state.load_state, "--load-state"),
        (log.continue_last, "--continue"), (log.log_id is not None, "--log-id"),
    ):  # fmt: skip
        if given:
            raise not_for_rows(name)


def not_for_rows(name: str) -> UsageError:
    """Return the error of an option that is for one prompt only."""
    return UsageError(f"{name} cannot be used with --input", hint="results are JSON lines, and a summary comes at the end")


def check_tools(
    tools: ToolOptions,
    calls: ToolCallOptions,
    source: PromptOptions,
    output: OutputOptions,
    rows: RowOptions,
    reread: Reread,
) -> None:
    """Check that the tools can run, if they are to. Raises UsageError if not."""
    if not tools.run_tools:
        for name in ("mcp", "allow_tool", "max_tool_calls"):
            if reread.given(name):  # of the settings, they are about chat
                raise UsageError(f"--{name.replace('_', '-')} needs --run-tools")
        return
    if tools.tools is None and calls.mcp is None:
        raise UsageError("--run-tools needs tools", hint="--tools FILE or --mcp FILE adds some")
    if rows.input is not None:
        raise UsageError("--run-tools cannot be used with --input", hint="a loop of the shell runs a prompt for each line")
    for given, name in (
        (output.samples != 1, "--samples"), (output.echo, "--echo"), (source.raw, "--raw"),
        (source.infill is not None, "--infill"), (source.at is not None, "--at"),
    ):  # fmt: skip
        if given:
            raise UsageError(f"{name} cannot be used with --run-tools")


def check_for_log(source: PromptOptions) -> None:
    """Check that the prompt can follow an answer in the log. Raises UsageError if not."""
    for given, name in (
        (source.raw, "--raw"), (source.infill is not None, "--infill"), (source.at is not None, "--at"),
        (source.messages is not None, "--messages"),
    ):  # fmt: skip
        if given:
            raise UsageError(f"{name} cannot be used with --continue and --log-id", hint="they go on with a conversation")


def check_for_server(source: PromptOptions, output: OutputOptions, state: StateOptions) -> None:
    """Check that no option needs the model on this machine. Raises UsageError if one does."""
    for given, name in (
        (source.dry_run, "--dry-run"), (output.echo and not source.raw, "--echo without --raw"),
        (state.save_state, "--save-state"), (state.load_state, "--load-state"),
    ):  # fmt: skip
        if given:
            raise UsageError(f"{name} cannot be used with --url", hint="the prompt is rendered and evaluated by the server")


def check_for_index(source: PromptOptions, index: IndexOptions, rows: RowOptions, *, is_given: bool) -> IndexOptions:
    """Return the options of the index, without one that the settings name where there is no question for it.

    Raises:
        UsageError: if the command line names one there.
    """
    for given, name in (
        (rows.input is not None, "--input"), (source.raw, "--raw"), (source.infill is not None, "--infill"),
        (source.at is not None, "--at"), (source.messages is not None, "--messages"),
    ):  # fmt: skip
        if given:
            if is_given:
                raise UsageError(f"--index cannot be used with {name}", hint="it answers one question")
            return replace(index, index=None)
    return index
