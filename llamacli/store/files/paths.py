"""Where llamacli keeps its files. This is the one module of the store that reads the environment.

| what | where, on Linux | moved by |
|---|---|---|
| models and other data | `~/.local/share/llamacli` | `LLAMACLI_DATA_DIR`, `XDG_DATA_HOME` |
| what can be made again | `~/.cache/llamacli` | `LLAMACLI_CACHE_DIR`, `XDG_CACHE_HOME` |
| settings | `~/.config/llamacli/config.toml` | `LLAMACLI_CONFIG` (a file), `XDG_CONFIG_HOME` |
| models of the Hugging Face hub | `~/.cache/huggingface/hub`, a shared place | `LLAMA_CACHE`, `HF_HUB_CACHE`, `HF_HOME` |

macOS and Windows have their own customs, which platformdirs knows.
"""

from __future__ import annotations

import os
from pathlib import Path

PROJECT_SETTINGS_NAME = ".llamacli.toml"
"""The settings file of a project, looked for in the current directory and those above it."""


def data_dir() -> Path:
    """What must not get lost: models, chat sessions, benchmark history."""
    return _from_environment("LLAMACLI_DATA_DIR") or _platform_dir("data")


def cache_dir() -> Path:
    """What can be made again."""
    return _from_environment("LLAMACLI_CACHE_DIR") or _platform_dir("cache")


def models_dir() -> Path:
    """The models that llamacli itself fetched, but for those of the Hugging Face hub, which has a shared cache."""
    return data_dir() / "models"


def settings_file() -> Path:
    """The user's settings file, whether it exists or not."""
    return _from_environment("LLAMACLI_CONFIG") or _platform_dir("config") / "config.toml"


def project_settings_file(start: Path | None = None) -> Path | None:
    """The nearest `.llamacli.toml` from `start` (the current directory) upwards, stopping at the home directory."""
    folder = (start or Path.cwd()).resolve()
    home = Path.home().resolve()
    for candidate in (folder, *folder.parents):
        file = candidate / PROJECT_SETTINGS_NAME
        if file.is_file():
            return file
        if candidate == home:
            return None
    return None


def hub_cache() -> Path:
    """The cache of the Hugging Face hub, found as llama.cpp and huggingface_hub find it, so that nothing is stored twice."""
    for name, below in (("LLAMA_CACHE", ""), ("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if folder := _from_environment(name):
            return folder / below
    return (_from_environment("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface" / "hub"


def hub_endpoint() -> str:
    """The address of the hub: `HF_ENDPOINT` for a mirror."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hub_token() -> str | None:
    """The user's token for the hub: `HF_TOKEN`, or the one that `hf auth login` left. None without one."""
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
    """Where LM Studio keeps models: today's place, then the one of its older versions."""
    return (Path.home() / ".lmstudio" / "models", Path.home() / ".cache" / "lm-studio" / "models")


def ollama_models() -> tuple[Path, ...]:
    """Where ollama keeps models: `OLLAMA_MODELS` alone, or the user's store and that of its Linux service."""
    if folder := _from_environment("OLLAMA_MODELS"):
        return (folder,)
    return (Path.home() / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models"))


def offline_requested() -> bool:
    """Whether `HF_HUB_OFFLINE` (or its elder, `TRANSFORMERS_OFFLINE`) forbids the network, read as huggingface_hub reads it."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in {"1", "ON", "YES", "TRUE"}


def _from_environment(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value).expanduser() if value else None


def _platform_dir(kind: str) -> Path:
    import platformdirs  # here because `--version` and most of `--help` do without it

    find = {"data": platformdirs.user_data_path, "cache": platformdirs.user_cache_path, "config": platformdirs.user_config_path}
    return find[kind]("llamacli", appauthor=False)
