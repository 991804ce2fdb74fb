"""The options of `embed`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from llamacli.batch.formats import RESUMABLE, VECTOR_SUFFIXES, RowFormat, VectorFormat
from llamacli.cli.framework import parsers as values
from llamacli.cli.framework.options import ContextOptions, DocumentOptions, ModelOptions
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.framework.parsers import parse_int
from llamacli.engine.embedding.params import Attention, EmbeddingParams, Normalization
from llamacli.engine.params import Pooling
from llamacli.errors import UsageError

_DEFAULTS = EmbeddingParams()

TextsArgument = Annotated[
    tuple[str, ...],
    argument(metavar="TEXT", help="Texts; - reads standard input, one text per line or row."),
]


def parse_chunk(text: str) -> tuple[int, int]:
    """Parse N or N:OVERLAP, in tokens."""
    size, colon, overlap = text.partition(":")
    return parse_int(size), parse_int(overlap) if colon else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions(DocumentOptions):
    """Input texts."""

    PANEL: ClassVar[str] = "Texts"

    input: Annotated[
        Path | None,
        option(
            "--input",
            metavar="FILE",
            help="A file with many texts: rows of JSON, JSON lines, CSV or TSV, or lines; - is standard input.",
        ),
    ] = None
    input_format: Annotated[
        RowFormat | None, option("--input-format", shows="by the file's name, else lines", help="Format of --input or -.")
    ] = None
    field: Annotated[str, option("--field", metavar="NAME", shows="text", help="Field or column with the text.")] = "text"
    prefix: Annotated[
        str | None, option("--prefix", shows="a --lora's, else none", help="Text put before each text, as some models require.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorOptions:
    """From a text to a vector."""

    PANEL: ClassVar[str] = "Vectors"

    pooling: Annotated[
        Pooling | None, option("--pooling", shows="the model's, else mean", help="Pooling of a text's tokens into one vector.")
    ] = None
    attention: Annotated[
        Attention | None,
        option("--attention", shows="the model's", help="Attention: with causal, a token does not attend to later ones."),
    ] = None
    dims: Annotated[
        int | None,
        option("--dims", shows="all", help="Numbers to keep of each vector, from the first, for models trained for it."),
    ] = _DEFAULTS.dims
    truncate: Annotated[bool, option("--truncate", help="Truncate texts that are too long.")] = False
    chunk: Annotated[
        tuple[int, int] | None,
        option(
            "--chunk",
            metavar="N[:OVERLAP]",
            parser=parse_chunk,
            help="Chunk size in tokens; a text's vector is the mean of its chunks.",
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.truncate and self.chunk is not None:
            raise UsageError("--truncate cannot be used with --chunk")

    def params(self, prefix: str = "", *, normalize: Normalization = "l2", merge: bool = True) -> EmbeddingParams:
        """Return the parameters for the engine."""
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
    """Normalization and rows of the vectors."""

    PANEL: ClassVar[str] = VectorOptions.PANEL

    normalize: Annotated[
        Normalization,
        option(
            "--normalize",
            shows=_DEFAULTS.normalize,
            help="Norm that becomes 1: Euclidean, maximum or taxicab; `none` disables normalization.",
        ),
    ] = _DEFAULTS.normalize
    chunk_rows: Annotated[bool, option("--chunk-rows", help="With --chunk, write a vector for each chunk.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingModelOptions(ModelOptions):
    """The model, with a default for embeddings."""

    model: Annotated[
        str | None,
        option(
            "-m", "--model", metavar="MODEL", shows="all-MiniLM-L6-v2",
            help="A GGUF file, hf:user/repo[:quant], an https:// address, or a name from `llamacli models list`. A default in "
            "the settings or LLAMACLI_MODEL is used only if it is an embedding model.",
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions(ContextOptions):
    """The context, which holds one batch of texts."""

    ctx_size: Annotated[
        int | None,
        option(
            "-c",
            "--ctx-size",
            shows="as the model was trained",
            sets="n_ctx",
            help="Maximum tokens of a text, at most as trained.",
        ),
    ] = None
    threads: Annotated[
        int | None,
        option(
            "-t", "--threads", parser=values.parse_threads, metavar="N", shows="physical cores", help="Number of CPU threads."
        ),
    ] = None
    threads_batch: Annotated[
        int | None,
        option(
            "-tb", "--threads-batch", parser=values.parse_threads, metavar="N", shows="as -t",
            help="Number of CPU threads; takes precedence over -t.",
        ),
    ] = None  # fmt: skip
    ubatch_size: Annotated[
        int | None,
        option(
            "-ub", "--ubatch-size", shows="by the model's width", sets="n_ubatch",
            help="Batch size in tokens, filled with short texts; a longer text has a batch to itself.",
        ),
    ] = None  # fmt: skip
    batch_size: Annotated[
        int | None,
        option("-b", "--batch-size", shows="as -ub", sets="n_batch", help="Batch size in tokens, if smaller than -ub."),
    ] = None

    @property
    def budget(self) -> int | None:
        """Tokens in one batch, None if not given."""
        given = [size for size in (self.ubatch_size, self.batch_size) if size is not None]
        return min(given, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Output file and format."""

    PANEL: ClassVar[str] = "Output"

    output: Annotated[
        Path | None,
        option(
            "-o", "--output", metavar="FILE",
            help="Output file; its suffix selects the format: .jsonl, .json, .csv, .npy, .npz, .parquet, .f32.",
        ),
    ] = None  # fmt: skip
    json: Annotated[bool, option("--json", help="Write one JSON document, as OpenAI's embeddings.")] = False
    jsonl: Annotated[bool, option("--jsonl", help="Write a JSON document per text; the default off a terminal.")] = False
    csv: Annotated[bool, option("--csv", help="Write CSV with a column for each number.")] = False
    raw: Annotated[bool, option("--raw", help="Write 32-bit floats, little-endian, and nothing else.")] = False
    resume: Annotated[
        bool,
        option(
            "--resume",
            help="Continue an interrupted run over the same texts; not for .json and .parquet. A finished file is left "
            "unchanged, and refused if it has another number of texts or another first vector.",
            environment=False,
        ),
    ] = False

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) > 1:
            raise UsageError(f"--{given[0]} cannot be used with --{given[1]}")
        if self.output is not None and not given and self.output.suffix.lower() not in VECTOR_SUFFIXES:
            raise UsageError(
                f"{self.output}: its name does not select a format",
                hint=f"use one of {', '.join(VECTOR_SUFFIXES)}, or --json, --jsonl, --csv, --raw",
            )
        if self.resume and (self.output is None or self.format(terminal=False) not in RESUMABLE):
            raise UsageError(
                "--resume needs -o with a name that ends in .jsonl, .csv, .npy, .npz or .f32",
                hint="an incomplete .json or .parquet file cannot be continued" if self.output else None,
            )

    def _given(self) -> list[VectorFormat]:
        flags: tuple[tuple[VectorFormat, bool], ...] = (
            ("json", self.json), ("jsonl", self.jsonl), ("csv", self.csv), ("raw", self.raw),
        )  # fmt: skip
        return [name for name, on in flags if on]

    def format(self, *, terminal: bool) -> VectorFormat:
        """Return the format to write."""
        if given := self._given():
            return given[0]
        if self.output is not None:
            return VECTOR_SUFFIXES[self.output.suffix.lower()]
        return "view" if terminal else "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Comparison and search, instead of writing the vectors."""

    PANEL: ClassVar[str] = "Compare and search"

    similarity: Annotated[bool, option("--similarity", help="Show the cosine similarity of each pair of texts.")] = False
    query: Annotated[
        str | None, option("--query", help="Show the texts nearest to this one, with their cosine similarity.")
    ] = None
    rerank: Annotated[
        str | None, option("--rerank", metavar="QUERY", help="Show the texts that answer this best, by a reranking model.")
    ] = None
    top_k: Annotated[int | None, option("--top-k", metavar="K", shows="all", help="Number of best texts to show.")] = None
    query_prefix: Annotated[
        str | None, option("--query-prefix", shows="as --prefix", help="Text put before the query, as some models require.")
    ] = None

    def __post_init__(self) -> None:
        modes = [("--similarity", self.similarity), ("--query", self.query is not None), ("--rerank", self.rerank is not None)]
        given = [name for name, on in modes if on]
        if len(given) > 1:
            raise UsageError(f"{given[0]} cannot be used with {given[1]}")
        if self.top_k is not None and self.query is None and self.rerank is None:
            raise UsageError("--top-k needs --query or --rerank")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError("--top-k must be at least 1")
        if self.query_prefix is not None and self.query is None:
            raise UsageError("--query-prefix needs --query")

    @property
    def any(self) -> bool:
        """True if one of them is given."""
        return self.similarity or self.query is not None or self.rerank is not None
