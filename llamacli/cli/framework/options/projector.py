"""The projector of a model, which turns pictures and sounds into embeddings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from llamacli.cli.framework.parameters import option
from llamacli.engine.params import ModelParams
from llamacli.values import dataclass

if TYPE_CHECKING:
    from llamacli.cli.framework.context import AppContext

_MODEL = ModelParams()

MmprojOption = Annotated[
    str | None,
    option(
        "--mmproj", metavar="FILE", shows="the one beside the model", loads=True,
        help="Projector of the model for images and sound: a GGUF file, hf:user/repo[:quant], or an https:// address.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorOptions:
    """The projector of a model, and how it is used."""

    PANEL: ClassVar[str] = "Images and sound"

    mmproj: MmprojOption = _MODEL.mmproj
    mmproj_auto: Annotated[
        bool,
        option(
            "--mmproj-auto/--no-mmproj",
            loads=True,
            clears=("mmproj",),
            help="Look for a projector beside the model and in its repository.",
        ),
    ] = True
    image_max_tokens: Annotated[
        int | None,
        option(
            "--image-max-tokens", metavar="N", shows="the projector's", loads=True,
            help="Most tokens that an image may take, for projectors that let it vary.",
        ),
    ] = _MODEL.image_max_tokens  # fmt: skip

    def find(self, app: AppContext, path: Path, reference: str | None, *, offline: bool, wanted: bool = False) -> Path | None:
        """Return the projector of the model at `path`, which `reference` names; None if it has none, or is to have none."""
        if self.mmproj is None and not self.mmproj_auto:
            return None
        return app.find_projector(app, path, reference, mmproj=self.mmproj, offline=offline, wanted=wanted)

    def params(self, model: ModelParams, found: Path) -> ModelParams:
        """Return the parameters of the model with this projector."""
        return dataclasses.replace(model, mmproj=str(found), image_max_tokens=self.image_max_tokens)
