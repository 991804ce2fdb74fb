"""`embed index eval`: how well an index answers questions whose places are known."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from llamacli.batch.reader import open_rows, read_rows
from llamacli.cli.embed.index.model import DatabaseArgument, finder_models, model_of, vector_options
from llamacli.cli.embed.options import BatchOptions, EmbeddingModelOptions
from llamacli.cli.framework.command import Reread, command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.index.finder import Finder, check_server
from llamacli.cli.framework.index.options import QueryPrefixOption, RerankerOption
from llamacli.cli.framework.options import JsonOption, RemoteOptions, ResidentOptions
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import UsageError
from llamacli.render.retrieval import Measured, format_quality, quality_document
from llamacli.retrieval.evaluation import Question, evaluate, parse_target
from llamacli.retrieval.search import SearchMode
from llamacli.store.vectors.index import VectorIndex

QuestionsArgument = Annotated[
    Path, argument(metavar="FILE", help='JSON lines such as {"query": "…", "relevant": ["notes.md:12-30"]}.')
]

_CUTS = (1, 3, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalOptions:
    """What is compared."""

    PANEL: ClassVar[str] = "Search"

    top_k: Annotated[int, option("--top-k", metavar="K", shows=10, help="Number of passages to look at.")] = 10
    reranker: RerankerOption = None
    query_prefix: QueryPrefixOption = ""
    json_: JsonOption = False

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise UsageError("--top-k must be at least 1")

    @property
    def cuts(self) -> tuple[int, ...]:
        """The numbers of passages for which recall is computed."""
        return (*(cut for cut in _CUTS if cut < self.top_k), self.top_k)


@command(
    name="eval",
    examples=(("Compare the ways of searching.", "llamacli embed index eval notes.db questions.jsonl"),),
    common=("--top-k", "--reranker", "--query-prefix", "-t", "--json"),
)
def eval_(
    app: AppContext,
    db: DatabaseArgument,
    file: QuestionsArgument,
    *,
    show: EvalOptions,
    model: EmbeddingModelOptions,
    context: BatchOptions,
    resident: ResidentOptions,
    remote: RemoteOptions,
    line: Reread,
) -> None:
    """Measure how well an index finds what it should.

    Each line of FILE has a `query`, and `relevant`: the ids of texts or the paths of files that answer it, with lines
    ("notes.md:12-30") or a page ("report.pdf, page 3") if only these do. A path may be the end of one. Recall@K is the mean
    share of them among the first K passages; MRR the mean of 1 / rank of the first one. Each way of searching has a line.
    """
    questions = read_questions(file)
    with VectorIndex(db) as index:
        vectors = vector_options(index, remote)
        if other := model_of(index, line):
            options = line(other)
            show, model, context, remote = (options[name] for name in ("show", "model", "context", "remote"))
        check_server(index, remote)
        models = finder_models(
            app, model, context, vectors, resident, remote, query_prefix=show.query_prefix, reranker=show.reranker
        )
        modes: list[SearchMode] = ["hybrid", "vectors", "words"] if index.has_words else ["vectors"]
        with closing(Finder(index, models, app.interrupts.guard)) as finder:
            measured = [_measure(finder, mode, questions, show.cuts, rerank=False) for mode in modes]
            if show.reranker is not None:
                measured.append(_measure(finder, modes[0], questions, show.cuts, rerank=True))
    if show.json_:
        app.console.write(json.dumps(quality_document(measured)) + "\n")
    else:
        app.console.write(format_quality(measured, width=app.console.line_width))


def _measure(
    finder: Finder, mode: SearchMode, questions: tuple[Question, ...], cuts: tuple[int, ...], *, rerank: bool
) -> Measured:
    """Ask all questions; the first one also loads the model, and is asked twice."""
    finder.find(questions[0].text, 1, mode, rerank=rerank)
    started = time.perf_counter()
    quality = evaluate(lambda text, count: finder.find(text, count, mode, rerank=rerank), questions, cuts)
    return Measured(f"{mode}, reranked" if rerank else mode, quality, (time.perf_counter() - started) / len(questions))


def read_questions(path: Path) -> tuple[Question, ...]:
    """Read the questions of a file. Raises UsageError for an invalid line, or if there are no questions."""
    questions = []
    with open_rows(path) as stream:
        for row in read_rows(stream, "jsonl", name=str(path), text_field="query", columns=("query", "relevant"), required=()):
            where = f"{path}, line {row.line}"
            if row.problem is not None:
                raise UsageError(f"{path}, {row.problem}")
            query, relevant = row.fields.get("query"), row.fields.get("relevant")
            targets = [relevant] if isinstance(relevant, str) else relevant
            if not isinstance(query, str) or not query.strip():
                raise UsageError(f"{where}: `query` is not a text")
            if not isinstance(targets, list) or not targets or not all(isinstance(one, str) and one for one in targets):
                raise UsageError(f"{where}: `relevant` is not a text or a list of texts")
            questions.append(Question(query, tuple(parse_target(one) for one in targets)))
    if not questions:
        raise UsageError(f"{path} has no questions")
    return tuple(questions)
