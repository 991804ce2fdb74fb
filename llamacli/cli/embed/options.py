"""The options of `embed` that no other command has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from llamacli.cli.framework import parsers as values
from llamacli.cli.framework.options import ContextOptions, ModelOptions
from llamacli.cli.framework.parameters import argument, option, parse_int
from llamacli.engine.embedding.params import Attention, EmbeddingParams, Normalization
from llamacli.engine.params import Pooling
from llamacli.errors import UsageError

InputFormat = Literal["lines", "jsonl", "csv", "tsv"]
OutputFormat = Literal["view", "json", "jsonl", "csv", "raw", "npy", "npz", "parquet"]

SUFFIXES: dict[str, OutputFormat] = {
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".npy": "npy", ".npz": "npz", ".parquet": "parquet",
    ".f32": "raw", ".bin": "raw",
}  # fmt: skip
"""What the name of an output file says."""

RESUMABLE: tuple[OutputFormat, ...] = ("jsonl", "csv", "npy", "npz", "raw")
"""Forms that an interrupted run leaves in a state that can be gone on with; the others make sense only when they are whole."""

_DEFAULTS = EmbeddingParams()

TextsArgument = Annotated[
    tuple[str, ...],
    argument(metavar="TEXT", help="Texts; - is standard input, a text on each line or row."),
]


def parse_chunk(text: str) -> tuple[int, int]:
    """N or N:OVERLAP, in tokens."""
    size, colon, overlap = text.partition(":")
    return parse_int(size), parse_int(overlap) if colon else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """Where texts come from."""

    PANEL: ClassVar[str] = "Texts"

    file: Annotated[
        tuple[Path, ...],
        option("-f", "--file", metavar="FILE", help="A file that is one text; may be given many times."),
    ] = ()
    input: Annotated[
        Path | None,
        option(
            "--input", metavar="FILE", help="A file with many texts: rows of JSONL, CSV or TSV, or lines; - is standard input."
        ),
    ] = None
    input_format: Annotated[
        InputFormat | None, option("--input-format", shows="by the file's name, else lines", help="What --input or - holds.")
    ] = None
    field: Annotated[str, option("--field", metavar="NAME", shows="text", help="The field or column that holds the text.")] = (
        "text"
    )
    prefix: Annotated[
        str | None, option("--prefix", shows="a --lora's, else none", help="Put before each text, as some models want it.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MakingOptions:
    """How a text becomes one vector."""

    PANEL: ClassVar[str] = "Vectors"

    pooling: Annotated[
        Pooling | None, option("--pooling", shows="the model's, else mean", help="How a text's tokens become one vector.")
    ] = None
    attention: Annotated[
        Attention | None, option("--attention", shows="the model's", help="Whether a token sees those after it.")
    ] = None
    dims: Annotated[
        int | None, option("--dims", shows="all", help="Keep the first N numbers, of a model that was trained for it.")
    ] = _DEFAULTS.dims
    truncate: Annotated[bool, option("--truncate", help="Cut a text that is too long at its end.")] = False
    chunk: Annotated[
        tuple[int, int] | None,
        option(
            "--chunk",
            metavar="N[:OVERLAP]",
            parser=parse_chunk,
            help="Cut texts into chunks of N tokens; the vector is their mean.",
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.truncate and self.chunk is not None:
            raise UsageError("--truncate and --chunk cannot be combined")

    def params(self, prefix: str = "", *, normalize: Normalization = "l2", merge: bool = True) -> EmbeddingParams:
        """What the engine needs of these."""
        size, overlap = self.chunk or (None, 0)
        return EmbeddingParams(
            normalize=normalize,
            dims=self.dims,
            overflow="truncate" if self.truncate else "chunk" if self.chunk else "error",
            chunk=size,
            overlap=overlap,
            merge=merge,
            prefix=prefix,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FormOptions:
    """What the vectors are like in the end."""

    PANEL: ClassVar[str] = MakingOptions.PANEL

    normalize: Annotated[
        Normalization, option("--normalize", shows=_DEFAULTS.normalize, help="What becomes 1: length, largest number or sum.")
    ] = _DEFAULTS.normalize
    chunk_rows: Annotated[bool, option("--chunk-rows", help="With --chunk, a vector for each chunk.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingModelOptions(ModelOptions):
    """Which model: another one than elsewhere if none is named."""

    model: Annotated[
        str | None,
        option(
            "-m", "--model", metavar="MODEL", shows="all-MiniLM-L6-v2",
            help="A GGUF file, hf:user/repo[:quant], an https:// address, or a name from `llamacli models list`. A default in "
            "the settings or in LLAMACLI_MODEL only counts if it is made for vectors.",
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions(ContextOptions):
    """The context: texts do not share it, and there is no answer in it."""

    ctx_size: Annotated[
        int | None,
        option("-c", "--ctx-size", shows="as the model was trained", help="Most tokens of a text; more than trained is not."),
    ] = None
    threads: Annotated[
        int | None,
        option("-t", "--threads", parser=values.parse_threads, metavar="N", shows="physical cores", help="Threads to use."),
    ] = None
    threads_batch: Annotated[
        int | None,
        option(
            "-tb", "--threads-batch", parser=values.parse_threads, metavar="N", shows="as -t",
            help="The same; it comes before -t.",
        ),
    ] = None  # fmt: skip
    ubatch_size: Annotated[
        int | None,
        option(
            "-ub", "--ubatch-size", shows="by the model's width",
            help="Tokens of short texts that are computed together; a text that is longer is alone.",
        ),
    ] = None  # fmt: skip
    batch_size: Annotated[
        int | None, option("-b", "--batch-size", shows="as -ub", help="The same; the smaller of both counts.")
    ] = None

    @property
    def budget(self) -> int | None:
        """Tokens in one batch: what was asked for, None if nothing was."""
        given = [size for size in (self.ubatch_size, self.batch_size) if size is not None]
        return min(given, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Where vectors go."""

    PANEL: ClassVar[str] = "Output"

    output: Annotated[
        Path | None,
        option(
            "-o", "--output", metavar="FILE",
            help="Write to a file; its name says how: .jsonl, .json, .csv, .npy, .npz, .parquet, .f32.",
        ),
    ] = None  # fmt: skip
    json: Annotated[bool, option("--json", help="One JSON document, as OpenAI's embeddings.")] = False
    jsonl: Annotated[bool, option("--jsonl", help="A JSON document for each text; the default off a terminal.")] = False
    csv: Annotated[bool, option("--csv", help="CSV with a column for each number.")] = False
    raw: Annotated[bool, option("--raw", help="32-bit floats, little-endian, without anything else.")] = False
    resume: Annotated[
        bool,
        option(
            "--resume",
            help="Go on where an interrupted run of the same texts stopped; not for .json and .parquet. A finished file is "
            "left as it is, and refused if it has another number of texts or another first vector.",
            environment=False,
        ),
    ] = False

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) > 1:
            raise UsageError(f"--{given[0]} and --{given[1]} cannot be combined")
        if self.output is not None and not given and self.output.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"{self.output}: its name does not say what to write",
                hint=f"use one of {', '.join(SUFFIXES)}, or --json, --jsonl, --csv, --raw",
            )
        if self.resume and (self.output is None or self.format(terminal=False) not in RESUMABLE):
            raise UsageError(
                "--resume needs -o with a name that ends in .jsonl, .csv, .npy, .npz or .f32",
                hint="nothing can be added to half a .json or .parquet file" if self.output else None,
            )

    def _given(self) -> list[OutputFormat]:
        flags: tuple[tuple[OutputFormat, bool], ...] = (
            ("json", self.json), ("jsonl", self.jsonl), ("csv", self.csv), ("raw", self.raw),
        )  # fmt: skip
        return [name for name, on in flags if on]

    def format(self, *, terminal: bool) -> OutputFormat:
        """What is written."""
        if given := self._given():
            return given[0]
        if self.output is not None:
            return SUFFIXES[self.output.suffix.lower()]
        return "view" if terminal else "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What the vectors are used for at once, instead of being written."""

    PANEL: ClassVar[str] = "Compare and search"

    similarity: Annotated[bool, option("--similarity", help="How alike the texts are: the cosine of each pair.")] = False
    query: Annotated[str | None, option("--query", help="The texts nearest to this one, with their cosines.")] = None
    rerank: Annotated[
        str | None, option("--rerank", metavar="QUERY", help="The texts that answer this best, by a reranking model.")
    ] = None
    top_k: Annotated[int | None, option("--top-k", metavar="K", shows="all", help="Only the K best.")] = None
    query_prefix: Annotated[
        str | None, option("--query-prefix", shows="as --prefix", help="Put before the query, as some models want it.")
    ] = None

    def __post_init__(self) -> None:
        modes = [("--similarity", self.similarity), ("--query", self.query is not None), ("--rerank", self.rerank is not None)]
        given = [name for name, on in modes if on]
        if len(given) > 1:
            raise UsageError(f"{given[0]} and {given[1]} cannot be combined")
        if self.top_k is not None and self.query is None and self.rerank is None:
            raise UsageError("--top-k is for --query and --rerank")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError("--top-k must be at least 1")
        if self.query_prefix is not None and self.query is None:
            raise UsageError("--query-prefix is for --query")

    @property
    def any(self) -> bool:
        """Whether one of them was asked for."""
        return self.similarity or self.query is not None or self.rerank is not None
