"""What guesses the next tokens: a draft model or a head beside the model, or the model's own layers for that."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, ClassVar

from llamacli.cli.framework import parsers
from llamacli.cli.framework.parameters import option
from llamacli.engine.params import GenerationParams, ModelParams
from llamacli.errors import UsageError
from llamacli.values import dataclass

if TYPE_CHECKING:
    from llamacli.cli.framework.context import AppContext

_MODEL = ModelParams()


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftModelOptions:
    """A draft model beside the model, and the layers of it that are on the GPU; or the model's own layers for drafts."""

    PANEL: ClassVar[str] = "Model"
    LOADS: ClassVar[bool] = True

    model_draft: Annotated[
        str | None,
        option(
            "-md", "--model-draft", metavar="MODEL", shows="none", sets="draft_model",
            help="A smaller model with the same vocabulary, or the model's EAGLE-3 head; it guesses tokens, which the model "
            "evaluates together.",
        ),
    ] = _MODEL.draft_model  # fmt: skip
    gpu_layers_draft: Annotated[
        int | None,
        option(
            "-ngld", "--gpu-layers-draft", metavar="auto|all|N", parser=parsers.parse_gpu_layers, shows="auto",
            sets="draft_gpu_layers", needs=("model_draft",), help="Number of layers of the draft model on the GPU.",
        ),
    ] = _MODEL.draft_gpu_layers  # fmt: skip

    mtp: Annotated[
        bool, option("--mtp/--no-mtp", help="Guess tokens with the model's own layers for that (multi-token prediction).")
    ] = _MODEL.mtp

    def params(self, app: AppContext, model: ModelParams, *, offline: bool) -> ModelParams:
        """Return the parameters of the model with its draft model, which is found or fetched.

        Raises:
            UsageError: if it is to have its own layers for drafts, too.
        """
        if self.model_draft is None:
            return dataclasses.replace(model, mtp=self.mtp)
        if self.mtp:
            raise UsageError("--mtp cannot be used with -md")
        found = app.find_model(app, self.model_draft, offline=offline)
        return dataclasses.replace(model, draft_model=str(found), draft_gpu_layers=self.gpu_layers_draft)


DraftProbabilityOption = Annotated[
    float,
    option(
        "--draft-p-min", metavar="P", shows=GenerationParams().draft_p_min, needs=("model_draft", "mtp"),
        help="Least probability that a draft model must give to a token for it to be evaluated.",
    ),
]  # fmt: skip
