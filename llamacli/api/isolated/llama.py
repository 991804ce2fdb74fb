"""A `Llama` whose model is in a child process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final, NoReturn

from llamacli.api.arguments.names import naming_arguments
from llamacli.api.arguments.params import draft_path
from llamacli.api.chat.projectors import ProjectorHandler, projector_arguments
from llamacli.api.grammar import LlamaGrammar
from llamacli.api.isolated import contract
from llamacli.api.isolated.contract import Array, Forwarded
from llamacli.api.llama import Llama
from llamacli.api.loading import find_model
from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process.start import start_child
from llamacli.errors import UsageError
from llamacli.gguf.split import part_names

SERVICE: Final = "llamacli.api.isolated.service"

_OBJECTS: Final = ("chat_handler", "draft_model", "tokenizer", "logits_processor", "stopping_criteria")
"""Arguments that are objects with code of the caller's: they stay in this process."""


class IsolatedLlama(Llama):
    """A `Llama` in a child process, which `Llama(..., isolated=True)` makes.

    What returns text, tokens, vectors or OpenAI's documents works as there. What needs the caller's objects in the engine
    (processors, criteria, handlers), pointers or saved states raises UsageError.

    Raises (when built):
        UsageError: for arguments that cannot go to another process, and as `Llama`.
        EngineDiedError, MemoryFullError: if the child dies, as all methods do.
    """

    @naming_arguments
    def __init__(
        self,
        model_path: str | PathLike[str],
        *,
        isolated: bool = True,
        on_load: Callable[[float], None] | None = None,
        **arguments: Any,
    ) -> None:
        self._arguments = {"model_path": model_path, "isolated": isolated, "on_load": on_load, **arguments}
        path = find_model(model_path)
        projector = projector_arguments(
            arguments.get("chat_handler"), arguments.get("mmproj"), arguments.get("image_max_tokens")
        )
        if isinstance(arguments.get("chat_handler"), ProjectorHandler):
            arguments = {**arguments, "chat_handler": None}
        arguments |= projector
        drafter, draft = draft_path(arguments.pop("draft_model", None))
        arguments |= {"draft_model": drafter}
        plain = {name: _plain(name, value) for name, value in arguments.items() if value is not None}
        if draft is not None:
            plain["draft_model"] = draft
        models = [path] if draft is None else [path, Path(draft)]
        reads = [one.with_name(name) for one in models for name in part_names(one.name)]
        reads += [Path(plain[name]) for name in ("lora_path", "mmproj") if name in plain]
        self.model_path, self.chat_format = str(model_path), plain.get("chat_format")
        self.verbose, self.cache, self.chat_handler = bool(plain.get("verbose")), None, None
        self._child = start_child(SERVICE, reads, ChildParams(), model=path)
        try:
            self._child.call(contract.OPEN, {"model_path": str(path.resolve()), **plain}, on_item=on_load)
        except BaseException:
            self._child.close()
            raise

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._child.pid

    @property
    def engine(self) -> NoReturn:
        """Raise UsageError: the engine is in another process."""
        raise _not_here()

    def logits(self) -> Any:
        """Return the logits after the last token evaluated by hand: float32, (n_vocab,)."""
        import numpy as np

        found: Array = self._child.call(contract.CALL_ARRAY, Forwarded("logits"))
        return np.frombuffer(bytearray(found.data), found.dtype).reshape(found.shape)

    def close(self) -> None:
        """End the child. May be called twice."""
        self._child.close()

    def forward(self, name: str, positional: tuple[Any, ...], keywords: Mapping[str, Any], *, streams: bool) -> Any:
        """Call a method of the child's `Llama`."""
        plain = [_plain(name, value) for value in positional]
        asked = Forwarded(name, plain, {key: _plain(key, value) for key, value in keywords.items() if value is not None})
        if streams:
            return self._items(asked)
        return self._child.call(contract.CALL, asked)

    def _items(self, asked: Forwarded) -> Generator[Any, None, None]:
        yield from self._child.stream(contract.STREAM, asked)


def _not_here() -> UsageError:
    return UsageError("this needs the model in this process", hint="Llama(..., isolated=False)")


def _refuse(*_: Any, **__: Any) -> NoReturn:
    """Raise UsageError: this needs the model in this process."""
    raise _not_here()


def _plain(name: str, value: Any) -> Any:
    """Return a value that can go to another process. Raises UsageError for one that cannot."""
    if name in _OBJECTS or callable(value):
        raise UsageError(f"{name} cannot go to another process: it is an object with code", parameter=name)
    if isinstance(value, LlamaGrammar):
        return value.text
    if isinstance(value, PathLike):
        return str(Path(value).resolve())
    if isinstance(value, Mapping):
        return {key: _plain("value", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain("value", item) for item in value]
    return value.item() if hasattr(value, "item") and hasattr(value, "dtype") else value


def _forwarding(name: str) -> Callable[..., Any]:
    """Return a method that forwards its calls; one of `STREAMS` returns an iterator if `stream` says so, or always."""

    def method(self: IsolatedLlama, *positional: Any, **keywords: Any) -> Any:
        streams = name == "generate" or (name in contract.STREAMS and bool(keywords.get("stream")))
        return self.forward(name, positional, keywords, streams=streams)

    method.__name__ = name
    method.__doc__ = getattr(Llama, name).__doc__
    return method


def _forwarded(name: str) -> property:
    """Return a property that is read in the child; none can be set here."""

    def read(self: IsolatedLlama) -> Any:
        return self.forward(name, (), {}, streams=False)

    return property(read, _refuse, doc=getattr(Llama, name).__doc__)


for _name in (*contract.CALLS, *contract.STREAMS):
    if _name != "logits":
        setattr(IsolatedLlama, _name, _forwarding(_name))
for _name in ("load_state", "manual", "save_state", "set_cache"):
    setattr(IsolatedLlama, _name, _refuse)
for _name in ("context_params", "ctx", "model", "model_params", "tokenizer_"):
    setattr(IsolatedLlama, _name, property(_refuse))
for _name in contract.PROPERTIES:
    setattr(IsolatedLlama, _name, _forwarded(_name))
IsolatedLlama.__call__ = IsolatedLlama.create_completion  # type: ignore[method-assign]
