"""The argument that names a model."""

from __future__ import annotations

from typing import Annotated

from llamacli.cli.framework.parameters import argument

MODEL_HELP = "A GGUF file, hf:user/repo[:quant], an https:// address, or a name from `llamacli models list`."

ModelArgument = Annotated[str, argument(metavar="MODEL", help=MODEL_HELP)]
