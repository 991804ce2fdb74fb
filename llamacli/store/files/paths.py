"""Locations of llamacli's files. This is the one module of the store that reads the environment.

| content | location on Linux | overridden by |
|---|---|---|
| models and other data | `~/.local/share/llamacli` | `LLAMACLI_DATA_DIR`, `XDG_DATA_HOME` |
| files that can be regenerated | `~/.cache/llamacli` | `LLAMACLI_CACHE_DIR`, `XDG_CACHE_HOME` |
| sockets | `/run/user/UID/llamacli` | `LLAMACLI_RUNTIME_DIR`, `XDG_RUNTIME_DIR` |
| settings | `~/.config/llamacli/config.toml` | `LLAMACLI_CONFIG` (a file), `XDG_CONFIG_HOME` |
| prompt templates | `~/.config/llamacli/templates` | `LLAMACLI_TEMPLATES_DIR`, `XDG_CONFIG_HOME` |
| models of the Hugging Face hub | `~/.cache/huggingface/hub`, shared | `LLAMA_CACHE`, `HF_HUB_CACHE`, `HF_HOME` |

On macOS and Windows platformdirs supplies the conventional folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PROJECT_SETTINGS_NAME = ".llamacli.toml"
"""Name of a project's settings file, searched for in the current directory and its parents."""

PROJECT_FOLDER_NAME = ".llamacli"
"""Name of a project's folder, searched for likewise; its `templates` are prompt templates."""


def data_dir() -> Path:
    """The folder of data that cannot be regenerated: models, chat sessions, benchmark history."""
    return _from_environment("LLAMACLI_DATA_DIR") or _platform_dir("data")


def cache_dir() -> Path:
    """The folder of files that can be regenerated."""
    return _from_environment("LLAMACLI_CACHE_DIR") or _platform_dir("cache")


def models_dir() -> Path:
    """The folder of models that llamacli downloaded, except those in the shared cache of the Hugging Face hub."""
    return data_dir() / "models"


def runtime_dir() -> Path:
    """The folder of sockets of this user's running programs."""
    return _from_environment("LLAMACLI_RUNTIME_DIR") or _platform_dir("runtime")


def settings_file() -> Path:
    """The user's settings file, which may not exist."""
    return _from_environment("LLAMACLI_CONFIG") or _platform_dir("config") / "config.toml"


def project_settings_file(start: Path | None = None) -> Path | None:
    """The nearest `.llamacli.toml` in `start` (default: the current directory) or its parents, up to the home directory."""
    return next((file for folder in _project_folders(start) if (file := folder / PROJECT_SETTINGS_NAME).is_file()), None)


def templates_dir() -> Path:
    """The folder of the user's prompt templates."""
    return _from_environment("LLAMACLI_TEMPLATES_DIR") or _platform_dir("config") / "templates"


def project_templates_dir(start: Path | None = None) -> Path | None:
    """The nearest `.llamacli/templates`, searched for like the project's settings."""
    below = Path(PROJECT_FOLDER_NAME, "templates")
    return next((found for folder in _project_folders(start) if (found := folder / below).is_dir()), None)


def llm_templates_dir() -> Path:
    """The folder of the templates of llm (https://llm.datasette.io)."""
    folder = _from_environment("LLM_USER_PATH")
    return (folder or _platform_dir("config").parent / "io.datasette.llm") / "templates"


def fabric_patterns_dir() -> Path:
    """The folder of the patterns of fabric (https://github.com/danielmiessler/fabric)."""
    return Path.home() / ".config" / "fabric" / "patterns"


def hub_cache() -> Path:
    """The cache of the Hugging Face hub, located as llama.cpp and huggingface_hub do, so that no file is stored twice."""
    for name, below in (("LLAMA_CACHE", ""), ("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if folder := _from_environment(name):
            return folder / below
    return (_from_environment("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface" / "hub"


def hub_endpoint() -> str:
    """The base URL of the hub; `HF_ENDPOINT` names a mirror."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hub_token() -> str | None:
    """The user's token for the hub from `HF_TOKEN` or from `hf auth login`, or None."""
    value = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or ""
    if not value.strip():
        home = _from_environment("HF_HOME") or (_from_environment("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
        try:
            value = (_from_environment("HF_TOKEN_PATH") or home / "token").read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return None
    value = value.strip()
    return value if value.isascii() and value.isprintable() and value else None


def lm_studio_models() -> tuple[Path, ...]:
    """The model folders of LM Studio: the current one, then that of older versions."""
    return (Path.home() / ".lmstudio" / "models", Path.home() / ".cache" / "lm-studio" / "models")


def ollama_models() -> tuple[Path, ...]:
    """The model folders of ollama: `OLLAMA_MODELS` alone, or the user's store and that of its Linux service."""
    if folder := _from_environment("OLLAMA_MODELS"):
        return (folder,)
    return (Path.home() / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models"))


def offline_requested() -> bool:
    """Return whether `HF_HUB_OFFLINE` or the older `TRANSFORMERS_OFFLINE` is set, parsed as huggingface_hub does."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in {"1", "ON", "YES", "TRUE"}


def _project_folders(start: Path | None) -> Iterator[Path]:
    """`start` (default: the current directory) and its parents, up to the home directory."""
    folder = (start or Path.cwd()).resolve()
    home = Path.home().resolve()
    for candidate in (folder, *folder.parents):
        yield candidate
        if candidate == home:
            return


def _from_environment(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value).expanduser() if value else None


def _platform_dir(kind: str) -> Path:
    import platformdirs  # deferred: `--version` and most of `--help` do not need it

    if kind == "runtime":
        import warnings

        with warnings.catch_warnings(action="ignore"):  # that XDG_RUNTIME_DIR is not set, and another folder takes its place
            return platformdirs.user_runtime_path("llamacli", appauthor=False)
    find = {"data": platformdirs.user_data_path, "cache": platformdirs.user_cache_path, "config": platformdirs.user_config_path}
    return find[kind]("llamacli", appauthor=False)
