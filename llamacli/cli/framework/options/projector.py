"""The projector of a model, which turns pictures and sounds into embeddings."""

from typing import Annotated

from llamacli.cli.framework.parameters import option

MmprojOption = Annotated[
    str | None,
    option(
        "--mmproj", metavar="FILE", shows="the one beside the model",
        help="Projector of the model for images and sound: a GGUF file, hf:user/repo[:quant], or an https:// address.",
    ),
]  # fmt: skip
