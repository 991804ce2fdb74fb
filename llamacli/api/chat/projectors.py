"""Handlers of models that take images, by llama-cpp-python's names: what they add to a model is the file of its projector."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any, Self

from llamacli.errors import UsageError

NAMES = (
    "MTMDChatHandler", "Llava15ChatHandler", "Llava16ChatHandler", "ObsidianChatHandler", "MoondreamChatHandler",
    "NanoLlavaChatHandler", "Llama3VisionAlphaChatHandler", "MiniCPMv26ChatHandler", "Gemma3ChatHandler", "Gemma4ChatHandler",
    "Qwen25VLChatHandler", "Qwen3VLChatHandler", "Qwen35ChatHandler", "GLM46VChatHandler", "LFM2VLChatHandler",
    "GraniteDoclingChatHandler", "PaddleOCRChatHandler",
)  # fmt: skip
"""Names of handlers. All do the same here: the model's own chat template says where images go."""


class ProjectorHandler:
    """A model's projector, for `Llama(chat_handler=...)`: the model answers with its own template, and takes images or sound.

    `clip_model_path` is the projector's file. `image_max_tokens` bounds what an image takes. `verbose` and `use_gpu` have no
    effect: logging and devices are the model's.

    Raises:
        UsageError: if `clip_model_path` is not a path.
    """

    def __init__(
        self,
        clip_model_path: str | PathLike[str],
        verbose: bool = True,
        use_gpu: bool = True,
        image_max_tokens: int | None = None,
    ) -> None:
        try:
            self.clip_model_path = fspath(clip_model_path)
        except TypeError:
            raise UsageError("clip_model_path must be the path of a projector", parameter="clip_model_path") from None
        self.image_max_tokens = image_max_tokens

    def __call__(self, *, llama: Any, messages: Any, **more: Any) -> Any:
        """Answer as `Llama.create_chat_completion` does, with a model that was built with this handler."""
        return llama.chat_with(None, messages, **more)

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        filename: str | None = None,
        local_dir: str | PathLike[str] | None = None,
        local_dir_use_symlinks: bool | str | None = None,
        cache_dir: str | PathLike[str] | None = None,
        **arguments: Any,
    ) -> Self:
        """Return a handler with a projector of the Hugging Face hub, downloaded once. `filename` may be a pattern.

        Raises:
            ModelNotFoundError, DownloadError: if there is none, or it cannot be fetched.
        """
        from llamacli.api.hub_files import find_hub_file

        path = find_hub_file(repo_id, filename or "*mmproj*", (), local_dir=local_dir, cache_dir=cache_dir)
        return cls(path, **arguments)


def handler_class(name: str) -> type[ProjectorHandler] | None:
    """Return the handler of one of `NAMES`, None for another name."""
    return _CLASSES.get(name)


def projector_arguments(handler: object, mmproj: str | PathLike[str] | None, most: int | None) -> dict[str, Any]:
    """Return the arguments of `Llama` about the projector, those of the handler if it is one with a projector.

    Raises:
        UsageError: if both name one.
    """
    if not isinstance(handler, ProjectorHandler):
        return {"mmproj": mmproj, "image_max_tokens": most}
    if mmproj is not None:
        raise UsageError("mmproj cannot be used with a chat_handler that has a projector", parameter="mmproj")
    return {"mmproj": handler.clip_model_path, "image_max_tokens": handler.image_max_tokens if most is None else most}


_MEMBERS = {"__doc__": ProjectorHandler.__doc__, "__module__": "llamacli.llama_cpp.llama_chat_format"}
_CLASSES: dict[str, type[ProjectorHandler]] = {name: type(name, (ProjectorHandler,), dict(_MEMBERS)) for name in NAMES}
