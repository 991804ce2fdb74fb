"""`llamacli run`: one prompt, one answer or several, streamed or as a document; or many rows.

The parts: `options` declares, `checks` says what goes together, `prompt` and `constraint` read what is asked, `session` loads
and answers, `output` writes.
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
    DraftModelOptions,
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
    draft: DraftModelOptions,
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
    from llamacli.backend.child.decoder import decoding_in_child
    from llamacli.cli.framework.inputs.prompt import read_documents, show_texts
    from llamacli.cli.run import checks
    from llamacli.cli.run.session import answer_prompt, answer_rows, show_prompt

    if rows.merge is not None and rows.input is None:
        from llamacli.cli.run.merge import merge_shards

        check_rows(replace(rows, merge=None))
        merge_shards(app, rows.merge, tuple(Path(word) for word in (*((prompt,) if prompt else ()), *shards)))
        return
    checks.check_documents(source, rows, reread)
    if shards:
        raise unexpected(shards, prompt)
    checks.check_tools(tools, tool_calls, source, output, rows, reread)
    checks.check_output(output)
    check_rows(rows)
    checks.check_image_size(source, media, rows, log, reread)
    if rows.input is not None:
        checks.check_for_rows(output, state, log, reread)
    if log.continues:
        checks.check_for_log(source)
    if index.index is not None:
        index = checks.check_for_index(source, index, rows, is_given=reread.given("index"))
    if remote.url:
        checks.check_for_server(source, output, rows, state, constraint)
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
    if source.show_text:
        show_texts(app.console, read_documents(app.console, prompt, source.file, asked.access))
        return
    setup = ModelSetup(
        model=model,
        params=model.params() if remote.url else draft.params(app, model.params(), offline=model.offline),
        context=context.params(n_seq_max=output.samples, kv_unified=output.samples > 1),
        child=prompt_cache.child(resident.child(model)),
        remote=remote,
        strict=constraint.strict,
    )
    with decoding_in_child(model.child()):
        if rows.input is not None:
            answer_rows(app, prompt, asked, setup, rows)
        elif source.dry_run:
            show_prompt(app, prompt, asked, setup, log, json=output.json)
        else:
            answer_prompt(app, prompt, asked, setup, output, state, log)
