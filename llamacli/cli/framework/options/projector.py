"""The projector of a model, which turns pictures and sounds into embeddings."""

from typing import Annotated, ClassVar

from llamacli.cli.framework.parameters import option
from llamacli.engine.params import ModelParams
from llamacli.values import dataclass

_MODEL = ModelParams()

MmprojOption = Annotated[
    str | None,
    option(
        "--mmproj", metavar="FILE", shows="the one beside the model",
        help="Projector of the model for images and sound: a GGUF file, hf:user/repo[:quant], or an https:// address.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorOptions:
    """The projector of a model, and how it is used."""

    PANEL: ClassVar[str] = "Images and sound"

    mmproj: MmprojOption = _MODEL.mmproj
    mmproj_auto: Annotated[
        bool, option("--mmproj-auto/--no-mmproj", help="Look for a projector beside the model and in its repository.")
    ] = True
    image_max_tokens: Annotated[
        int | None,
        option(
            "--image-max-tokens", metavar="N", shows="the projector's",
            help="Most tokens that an image may take, for projectors that let it vary.",
        ),
    ] = _MODEL.image_max_tokens  # fmt: skip
