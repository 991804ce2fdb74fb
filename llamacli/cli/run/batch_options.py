"""Options of `llamacli run` for many prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from llamacli.batch.formats import RowFormat, result_format
from llamacli.batch.shard import Shard, parse_shard
from llamacli.cli.framework.options import DaskOption
from llamacli.cli.framework.parameters import option
from llamacli.cli.framework.parsers import parse_path
from llamacli.errors import UsageError
from llamacli.values import dataclass

MOST_PARALLEL = 256


def parse_parallel(text: str) -> int | None:
    """Parse a number of sequences, or auto (None)."""
    if text == "auto":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MOST_PARALLEL:
        raise ValueError(f"'{text}' is neither auto nor a number from 1 to {MOST_PARALLEL}")
    return int(text)


def parse_shard_or_auto(text: str) -> Shard | Literal["auto"]:
    """Parse K/N, or auto."""
    return "auto" if text == "auto" else parse_shard(text)


def parse_output(text: str) -> Path | None:
    """Parse a file name; - is standard output (None)."""
    return None if text == "-" else parse_path(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """Rows in, rows out."""

    PANEL: ClassVar[str] = "Many prompts"

    input: Annotated[
        Path | None,
        option(
            "--input",
            metavar="FILE",
            help="Answer each row of a file: a JSON array, JSON lines, OpenAI Batch, .csv, .tsv, or .txt lines; - is stdin.",
            environment=False,
        ),
    ] = None
    input_format: Annotated[
        RowFormat | None,
        option("--input-format", shows="by the file's name, else json", help="Format of --input.", environment=False),
    ] = None
    output: Annotated[
        Path | None,
        option(
            "--output", metavar="FILE", parser=parse_output, shows="stdout", environment=False,
            help="File for the results: .jsonl, .json, .csv, .tsv or .parquet; any other name, and - (stdout), has JSON lines.",
        ),
    ] = None  # fmt: skip
    keep_columns: Annotated[bool, option("--keep-columns", help="Put the columns of the input beside each answer.")] = False
    template: Annotated[
        str | None,
        option("--template", metavar="TEXT", help="Template of each prompt; {name} is a field of the row, {{ is {."),
    ] = None
    parallel: Annotated[
        int | None,
        option("--parallel", metavar="N|auto", parser=parse_parallel, shows="auto", help="Number of rows to answer at once."),
    ] = None
    unordered: Annotated[
        bool, option("--unordered", help="Write each result as soon as it is complete, not in the order of the rows.")
    ] = False
    resume: Annotated[
        bool,
        option(
            "--resume",
            help="Continue the output file of an interrupted run. Rows that failed there are not retried: "
            "remove their lines to retry them.",
            environment=False,
        ),
    ] = False
    shard: Annotated[
        Shard | Literal["auto"] | None,
        option(
            "--shard", metavar="K/N|auto", parser=parse_shard_or_auto, environment=False,
            help="Answer only every N-th row, from the K-th on; auto takes K and N from the Slurm array that runs this job.",
        ),
    ] = None  # fmt: skip
    dask: DaskOption = None
    merge: Annotated[
        Path | None,
        option("--merge", metavar="OUT", help="Join the results of all shards, named as arguments.", environment=False),
    ] = None
    fail_fast: Annotated[bool, option("--fail-fast", help="Stop at the first row that fails.")] = False
    retry: Annotated[
        int,
        option("--retry", metavar="N", shows=0, help="Number of retries for an answer that does not satisfy its constraint."),
    ] = 0


def check_rows(options: RowOptions) -> None:
    """Check that the options for rows can be used together. Raises UsageError if not."""
    if options.input is None:
        given = [
            name
            for name in ("input_format", "output", "template", "parallel", "shard", "dask")
            if getattr(options, name) is not None
        ]
        given += [name for name in ("keep_columns", "unordered", "resume", "fail_fast", "retry") if getattr(options, name)]
        if given:
            raise UsageError(f"--{given[0].replace('_', '-')} needs --input")
        return
    if options.resume and options.output is None:
        raise UsageError("--resume needs the --output file to continue")
    if options.merge is not None:
        raise UsageError("--merge joins results: it cannot be used with --input")
    if options.shard is not None and (options.output is None or result_format(options.output.name) != "jsonl"):
        raise UsageError("--shard needs an --output file of JSON lines, which --merge joins with the others")
    if options.output is not None:
        from llamacli.batch.result_table import require_writer

        require_writer(result_format(options.output.name))
    if str(options.input) != "-" and not options.input.exists():
        raise UsageError(f"{options.input} does not exist")
    if options.retry < 0:
        raise UsageError("--retry must be at least 0")
    both_exist = options.output is not None and options.input.exists() and options.output.exists()
    if both_exist and options.output is not None and options.input.samefile(options.output):
        raise UsageError("--input and --output are the same file")
