"""--unset: options that the environment and the settings do not set for one command."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import invoke

SETTINGS = """
[defaults]
model-draft = "/d.gguf"
mmproj = "/p.gguf"
lora = ["l.gguf"]
temp = 0.5
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text(SETTINGS)
    (tmp_path / "l.gguf").touch()
    monkeypatch.setenv("LLAMACLI_CONFIG", str(tmp_path / "config.toml"))


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    ("words", "draft", "loras", "projector"),
    [
        ([], True, 1, True),
        (["--unset", "model-draft"], False, 1, True),
        (["--unset", "model_draft,LORA", "--no-mmproj"], False, 0, False),
        (["--unset", "lora", "--unset", "mmproj"], True, 0, False),
        (["--no-mmproj", "--mmproj", "/other.gguf"], True, 1, True),
    ],
)
def test_an_option_is_freed_for_one_command(words: list[str], draft: bool, loras: int, projector: bool) -> None:
    found: list[str] = []

    def find_projector(app: object, path: Path, reference: str | None, *, mmproj: str | None, **_: object) -> None:
        found.append(mmproj or "")

    result = invoke("run", *words, "hi", find_projector=find_projector)
    assert result.status == 0, result.stderr
    engine = result.engine
    assert (engine.model.draft_model is not None, len(engine.model.loras), bool(found)) == (draft, loras, projector)
    assert engine.params.sampling.temperature == 0.5


def test_the_environment_counts_as_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMACLI_MODEL_DRAFT", "/d.gguf")
    monkeypatch.setenv("LLAMACLI_SEED", "7")
    assert invoke("run", "hi").engine.model.draft_model == "/d.gguf"
    engine = invoke("run", "--unset", "model-draft", "hi").engine
    assert (engine.model.draft_model, engine.params.sampling.seed) == (None, 7)


@pytest.mark.parametrize(
    ("word", "hint"), [("modeldraft", "did you mean model-draft?"), ("zzz", "long names, as in the settings")]
)
def test_an_unknown_name_is_a_usage_error(word: str, hint: str) -> None:
    result = invoke("run", "--unset", word, "hi")
    assert (result.status, f"no setting of this command: {word} (" in result.stderr, hint in result.stderr) == (2, True, True)
