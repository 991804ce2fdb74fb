"""Rows answered by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llamacli.backend.cluster import worker
from llamacli.backend.cluster.cluster import Cluster, ClusterUser
from llamacli.backend.cluster.worker import Asked, Described, ModelSpec
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, AnswerEvent, Failed, Timings, Usage
from llamacli.engine.generation.job import Job
from llamacli.engine.params import Description, SamplingParams
from llamacli.errors import LlamacliError

if TYPE_CHECKING:
    from llamacli.engine.runtime.canceller import Canceller
    from llamacli.engine.runtime.logit_bias import Bias

GROUP = 8
"""Rows that a worker gets at once, which it answers side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTurn(Turn):
    """A turn that a worker renders."""

    question: Question


class ClusterEngine(ClusterUser):
    """The engines of a cluster's workers, for rows. Owns the cluster.

    Raises (when built): what loading the model on a worker raises.
    """

    is_alive = True
    """A worker that is lost is replaced by the others."""

    def __init__(self, cluster: Cluster, spec: ModelSpec) -> None:
        self._cluster, self._spec = cluster, spec
        self._described: Described = cluster.call(worker.describe, spec, SamplingParams(), ())

    @property
    def recommended_sampling(self) -> dict[str, str]:
        """Empty: `sampling_defaults` has the recommendations."""
        return {}

    def revive(self) -> None:
        """Do nothing: the cluster starts its workers."""

    def describe(self) -> Description:
        """Return the model's name, size and limits."""
        return self._described.description

    def sampling_defaults(self, base: SamplingParams) -> SamplingParams:
        """Return `base` with the recommendations of the model's metadata."""
        found: Described = self._cluster.call(worker.describe, self._spec, base, ())
        return found.sampling

    def resolve_biases(self, biases: Sequence[Bias]) -> tuple[tuple[int, float], ...]:
        """Return biases by token id. Raises UsageError for an unknown id or an empty text."""
        found: Described = self._cluster.call(worker.describe, self._spec, SamplingParams(), tuple(biases))
        return found.biases

    def render(self, question: Question) -> ClusterTurn:
        """Return the turn of a question, which a worker renders."""
        return ClusterTurn(
            prompt=Prompt(question.text, ()),
            is_chat=not question.is_text,
            expected=question.constraint,
            is_constrained=question.constraint is not None,
            tools=question.tools if question.tool_choice != "none" else (),
            requires_call=bool(question.tools) and question.tool_choice == "required",
            question=question,
        )

    def answer_many(
        self, jobs: Iterator[Job | None], *, parallel: int | Literal["auto"] | None = None, cancel: Canceller | None = None
    ) -> Generator[AnswerEvent, None, None]:
        """Yield the answers of jobs as they end, each with its job's number. `parallel` rows are sent to a worker at once."""
        if cancel is not None:
            cancel.then(self._cluster.cancel)
        running: set[int] = set()

        def asked() -> Iterator[Asked | None]:
            for job in jobs:
                if job is None:
                    yield None
                    continue
                if not isinstance(job.turn, ClusterTurn):
                    raise LlamacliError("a turn of another backend cannot be answered by a cluster")
                running.add(job.number)
                yield Asked(job.number, job.turn.question, job.params)

        size = parallel if isinstance(parallel, int) else GROUP
        for group, found in self._cluster.stream(worker.answer, asked(), size, lambda rows: (self._spec, list(rows))):
            failed = isinstance(found, LlamacliError)
            for event in [Failed(row.number, found) for row in group.items] if failed else found:
                running.discard(event.sequence if isinstance(event, Failed) else event.index)
                yield event
        for number in running if self._cluster.is_cancelled() else ():
            yield Answer(
                index=number, content="", reasoning_content="", tool_calls=(), tokens=(), finish_reason="cancelled",
                usage=Usage(0, 0, 0), timings=Timings(0, 0.0, 0, 0.0), first_token_ms=None,
            )  # fmt: skip
