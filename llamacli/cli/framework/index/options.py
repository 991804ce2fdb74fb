"""The options about passages of an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from llamacli.cli.framework.parameters import option
from llamacli.errors import UsageError
from llamacli.retrieval.search import SearchMode
from llamacli.values import dataclass

RerankerOption = Annotated[
    str | None,
    option(
        "--reranker", metavar="MODEL", needs=("index",),
        help="Reranking model that puts the best passages in order, as for -m.",
    ),
]  # fmt: skip

SearchModeOption = Annotated[
    SearchMode,
    option(
        "--search-mode", needs=("index",),
        help="Search by the meaning of vectors, by words, or by both, joined by rank (hybrid).",
    ),
]  # fmt: skip

QueryPrefixOption = Annotated[
    str,
    option(
        "--query-prefix", needs=("index",),
        help="Text put before what is searched for, as some embedding models require.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """Answers from the passages of an index."""

    PANEL: ClassVar[str] = "Answers from files"

    index: Annotated[
        Path | None,
        option("--index", metavar="DB", help="Answer from the files in this index, and cite them."),
    ] = None
    passages: Annotated[
        int, option("--passages", metavar="K", shows=8, needs=("index",), help="Most passages for a question.")
    ] = 8
    passage_tokens: Annotated[
        int, option("--passage-tokens", metavar="N", shows=1500, needs=("index",), help="Most tokens of the passages together.")
    ] = 1500
    search_mode: SearchModeOption = "hybrid"
    reranker: RerankerOption = None
    query_prefix: QueryPrefixOption = ""

    def __post_init__(self) -> None:
        if self.passages < 1:
            raise UsageError("--passages must be at least 1")
        if self.passage_tokens < 1:
            raise UsageError("--passage-tokens must be at least 1")
