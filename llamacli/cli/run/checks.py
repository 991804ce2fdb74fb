"""Which options of `run` can be used together."""

from __future__ import annotations

from dataclasses import replace

from llamacli.cli.framework.command import Reread
from llamacli.cli.framework.index.options import IndexOptions
from llamacli.cli.framework.options import ToolCallOptions
from llamacli.cli.run.batch_options import RowOptions
from llamacli.cli.run.log_options import LogOptions
from llamacli.cli.run.options import ConstraintOptions, MediaOptions, OutputOptions, PromptOptions, StateOptions, ToolOptions
from llamacli.errors import UsageError


def check_documents(source: PromptOptions, rows: RowOptions, reread: Reread) -> None:
    """Check that the options of documents can be used. Raises UsageError if not."""
    source.check(is_recursive_given=reread.given("recursive"))
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


def check_for_rows(output: OutputOptions, state: StateOptions, log: LogOptions, reread: Reread) -> None:
    """Check that no option is for one prompt only. Raises UsageError if one is."""
    for given, name in (
        (output.json, "--json"), (output.stream_json, "--stream-json"), (output.samples != 1, "--samples"),
        (output.extract, "-x"), (output.echo, "--echo"),
        (state.save_state, "--save-state"), (state.load_state, "--load-state"),
        (log.continue_last, "--continue"), (log.log_id is not None, "--log-id"),
        (log.log and reread.given("log"), "--log"),  # of the settings, it is about prompts
    ):  # fmt: skip
        if given:
            raise UsageError(
                f"{name} cannot be used with --input", hint="results are JSON lines, and a summary comes at the end"
            )


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


def check_for_server(
    source: PromptOptions, output: OutputOptions, rows: RowOptions, state: StateOptions, constraint: ConstraintOptions
) -> None:
    """Check that no option needs the model on this machine. Raises UsageError if one does."""
    if rows.dask is not None:
        raise UsageError("--dask cannot be used with --url")
    for given, name in (
        (source.dry_run, "--dry-run"), (output.echo and not source.raw, "--echo without --raw"),
        (state.save_state, "--save-state"), (state.load_state, "--load-state"),
    ):  # fmt: skip
        if given:
            raise UsageError(f"{name} cannot be used with --url", hint="the prompt is rendered and evaluated by the server")
    if constraint.json_compact:
        raise UsageError("--json-compact cannot be used with --url: a server decides about blanks itself")


def check_image_size(source: PromptOptions, media: MediaOptions, rows: RowOptions, log: LogOptions, reread: Reread) -> None:
    """Check that a size of images on the command line has an image to be for. Raises UsageError if it has none."""
    may_have_images = (media.image, media.mmproj, source.file, source.messages, rows.input, log.continues)
    if reread.given("image_max_tokens") and not any(may_have_images):
        raise UsageError("--image-max-tokens needs an image")


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
