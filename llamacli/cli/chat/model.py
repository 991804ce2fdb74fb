"""The models of a conversation, found and loaded as the options say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llamacli.cli import complete
from llamacli.cli.framework.backends.remote import open_remote
from llamacli.cli.framework.command import Reread
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import (
    ChatOptions,
    ContextOptions,
    DraftModelOptions,
    GenerationOptions,
    ModelOptions,
    ProjectorOptions,
    PromptCacheOptions,
    RemoteOptions,
    ResidentOptions,
    SamplingOptions,
)
from llamacli.engine.params import SamplingParams
from llamacli.errors import ModelUnsupportedError
from llamacli.media.kind import MediaKind
from llamacli.repl.setup import FoundModel, Models

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """The options that depend on the model: the settings may have a section for it."""

    conversation: ChatOptions
    generation: GenerationOptions
    model: ModelOptions
    draft: DraftModelOptions
    projector: ProjectorOptions
    sampling: SamplingOptions
    context: ContextOptions
    prompt_cache: PromptCacheOptions
    resident: ResidentOptions
    remote: RemoteOptions

    @classmethod
    def pick(cls, arguments: Mapping[str, Any]) -> Self:
        """Return those of the command's arguments."""
        return cls(**{field.name: arguments[field.name] for field in fields(cls)})

    def models(self, app: AppContext, reread: Reread, kinds: Collection[MediaKind] = ()) -> Models:
        """Find the first model, which must take these kinds of media. For any other, the options are read again with `-m`."""
        return Models(
            self.find(app, self.model.model, kinds),
            lambda name: AnswerOptions.pick(reread("-m", name)).other(app, name),
            lambda: [name for name, _ in complete.models()],
        )

    def other(self, app: AppContext, name: str) -> FoundModel:
        """Find a model by the name that the user typed: a file, an address or a model of our own is on this machine."""
        from llamacli.store.models import catalogue
        from llamacli.store.models.references import SCHEMES, is_path

        is_here = is_path(name) or name.startswith(SCHEMES) or catalogue.is_name(name)
        return (replace(self, remote=RemoteOptions()) if is_here else self).find(app, name)

    def find(self, app: AppContext, reference: str | None, kinds: Collection[MediaKind] = ()) -> FoundModel:
        """Find a model, and prepare to load it with these options.

        Raises:
            UsageError: if it does not take these kinds of media.
            ModelError: if it cannot be found or read.
        """
        template, model_params, context_params = self.conversation.template(), self.model.params(), self.context.params()
        child = self.prompt_cache.child(self.resident.child(self.model))
        params = self.generation.params(SamplingParams())
        if self.remote.url:
            name = reference or self.remote.url[0].rpartition("@")[2]

            def connect(on_load: Callable[[float], None]) -> Backend:
                return open_remote(app, self.remote, self.model)

            return FoundModel(name, connect, self.sampling.resolved, params, template)
        path = app.find_model(app, reference, offline=self.model.offline)
        model_params = self.draft.params(app, model_params, offline=self.model.offline)
        if projector := self._find_projector(app, path, reference, kinds):
            model_params = self.projector.params(model_params, projector)

        def load(on_load: Callable[[float], None]) -> Backend:
            engine = app.open_engine(path, model_params, context_params, child=child, on_load=on_load)
            if template is None and not engine.has_chat_template:
                engine.close()
                raise ModelUnsupportedError(f"{path.name} has no chat template", hint=_template_hint(path.name))
            return engine

        return FoundModel(path.name.removesuffix(".gguf"), load, self.sampling.resolved, params, template)

    def _find_projector(self, app: AppContext, path: Path, reference: str | None, kinds: Collection[MediaKind]) -> Path | None:
        if not kinds:
            return self.projector.find(app, path, reference, offline=self.model.offline)
        from llamacli.cli.framework.media import require_projector

        return require_projector(app, path, reference, self.projector, kinds, offline=self.model.offline)


def _template_hint(model: str) -> str:
    from llamacli.cli.chat.template_hint import suggest_template
    from llamacli.engine.chat.builtin_templates import builtin_templates

    template = suggest_template(model, builtin_templates())
    if template is None:
        return "select one with --chat-template, or use llamacli run, which continues a text"
    return f"by its name, --chat-template {template} may fit"
