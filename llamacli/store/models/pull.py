"""Explicit downloads, as for `models pull`: existing files are verified, and hub models are updated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llamacli.store.files import paths
from llamacli.store.files.atomic import file_sha256
from llamacli.store.files.progress import OnProgress
from llamacli.store.models import catalogue, hub_catalogue, resolve
from llamacli.store.models.references import expand_alias


def pull(reference: str, *, aliases: Mapping[str, str], offline: bool, force: bool, on_progress: OnProgress) -> Path:
    """Download a model unless an intact copy exists. `force` downloads a model from an address again.

    Raises the same errors as `resolve.resolve`.
    """
    target = expand_alias(reference, aliases)
    offline = offline or paths.offline_requested()
    entry = catalogue.find(target)
    if entry is not None and entry.is_present():
        if file_sha256(entry.path, label=f"checking {entry.file_name}", on_progress=on_progress) == entry.sha256:
            return entry.path
        entry.path.unlink()
    named = hub_catalogue.find(target)
    if named is not None and not offline:
        from llamacli.store.models import hub

        parsed = hub.parse(named.reference)
        return hub.fetch(parsed, offline=False, on_progress=on_progress, refresh=True, sha256=named.sha256)
    if not offline and target.startswith(("hf:", "https://", "http://")):
        from llamacli.store.models import hub, web

        hub_reference = target if target.startswith("hf:") else web.hub_reference(target)
        if hub_reference is not None:
            return hub.fetch(hub.parse(hub_reference), offline=False, on_progress=on_progress, refresh=True)
        return web.fetch(target, offline=False, on_progress=on_progress, refresh=force)
    return resolve.resolve(target, offline=offline, on_progress=on_progress)
