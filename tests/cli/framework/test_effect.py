"""Options without an effect are refused, or warned about; those of the environment and the settings are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import invoke

NOWHERE = ("--url", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "-ngld", "3", "x"], "-ngld needs -md"),
        (["serve", "-ngld", "3"], "-ngld needs -md"),
        (["run", "--draft-p-min", "0.5", "x"], "--draft-p-min needs -md or --mtp"),
        (["run", "--no-prompt-cache", "--cache-size", "5M", "x"], "--cache-size needs --prompt-cache"),
        (["run", "--parallel-tool-calls", "x"], "--parallel-tool-calls needs --tools or --mcp or --input"),
        (["run", "--image-max-tokens", "9", "x"], "--image-max-tokens needs an image"),
        (["run", "--reranker", "r.gguf", "x"], "--reranker needs --index"),
        (["run", "--passages", "2", "x"], "--passages needs --index"),
        (["chat", "--search-mode", "words"], "--search-mode needs --index"),
        (["run", "--key", "env:KEY", "x"], "--key needs --url"),
        (["embed", "--insecure", "x"], "--insecure needs --url"),
        (["bench", "--key", "env:KEY"], "--key needs --url"),
        (["tokenize", "--image-max-tokens", "9", "x"], "--image-max-tokens needs --chat"),
        (["info", "-c", "512"], "-c needs --fit"),
        (["info", "--no-mmap"], "--no-mmap needs --fit"),
        (["info", "--mmproj", "p.gguf"], "--mmproj needs --fit"),
        (["run", *NOWHERE, "--strict", "-ngl", "3", "x"], "-ngl: no effect with --url"),
    ],
)
def test_an_option_without_effect_is_refused(arguments: list[str], says: str) -> None:
    result = invoke(*arguments)
    assert (result.status, says in result.stderr) == (2, True), result.stderr


def test_what_loads_a_model_here_is_warned_about_beside_a_server() -> None:
    result = invoke("run", *NOWHERE, "-ngl", "3", "-c", "512", "--no-mmap", "--keep-alive", "1m", "--engine-timeout", "5", "x")
    assert "warning: -ngl, --no-mmap, -c, --keep-alive: no effect with --url\n" in result.stderr
    assert result.status == 7  # nobody is there


def test_the_models_of_an_index_may_be_loaded_here_beside_a_server(tmp_path: Path) -> None:
    result = invoke("run", *NOWHERE, "--strict", "--index", str(tmp_path / "missing.db"), "-ngl", "3", "x")
    assert ("no effect" in result.stderr, "missing.db" in result.stderr, result.status) == (False, True, 2), result.stderr


def test_options_of_the_environment_are_for_other_commands_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("GPU_LAYERS_DRAFT", "3"), ("MMPROJ", "p.gguf"), ("PARALLEL", "4"), ("CTX_SIZE", "512")):
        monkeypatch.setenv(f"LLAMACLI_{name}", value)
    assert "missing.gguf" in invoke("info", "missing.gguf").stderr
    monkeypatch.delenv("LLAMACLI_PARALLEL")
    result = invoke("run", *NOWHERE, "x")
    assert ("no effect" in result.stderr, result.status) == (False, 7)
