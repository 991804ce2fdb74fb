"""The binding: the declarations against the headers, loading, prototypes, the log."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from llamacli.binding import abi_check, declarations, log
from llamacli.binding.library import Library, library, structs
from llamacli.binding.location import find_folder
from llamacli.errors import LibraryError

ROOT = Path(__file__).parents[2]
TREE = ROOT / "vendor/llama.cpp"
FLAGS = ["-std=c11", "-fsyntax-only", "-pedantic-errors", "-Werror=missing-field-initializers", "-Wno-overlength-strings"]

BINDING = ROOT / "llamacli/binding"
INCLUDES = [
    f"-I{folder}"
    for folder in (
        TREE / "include",
        TREE / "ggml/include",
        TREE / "tools/mtmd",
        BINDING / "shim",
        BINDING / "kernels",
        BINDING / "waits",
    )
]


def compiles(source: object, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "check.c"
    path.write_text(abi_check.generate(source))  # type: ignore[arg-type]
    compiler = shutil.which("cc") or shutil.which("gcc") or "clang"
    return subprocess.run([compiler, *FLAGS, *INCLUDES, str(path)], capture_output=True, text=True, check=False)


def doctored(old: str, new: str) -> SimpleNamespace:
    texts = {name: getattr(declarations, name) for name in ("HEADERS", "OPAQUE", "TYPEDEFS", "STRUCTS", "FUNCTIONS")}
    assert sum(str(text).count(old) for text in texts.values()) == 1, "the doctored text must be found once"
    return SimpleNamespace(**{name: text if name == "HEADERS" else text.replace(old, new) for name, text in texts.items()})


def test_the_declarations_fit_the_headers(tmp_path: Path) -> None:
    result = compiles(declarations, tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int32_t main_gpu;", "uint32_t main_gpu;"),  # another type of the same size
        ("int32_t main_gpu;", "int64_t main_gpu;"),  # another size
        ("bool load_mtp;", ""),  # a bool in padding that is not there
        ("bool load_mtp;", "bool load_mtp; bool one_more;"),
        ("bool swa_full;\n    bool kv_unified;", "bool kv_unified;\n    bool swa_full;"),  # exchanged fields
        ("float yarn_beta_fast;\n    float yarn_beta_slow;", "float yarn_beta_slow;\n    float yarn_beta_fast;"),
        ("llama_token id; float logit; float p;", "llama_token id; float logit;"),
        ("uint32_t llama_n_batch(const struct llama_context * ctx)", "int32_t llama_n_batch(const struct llama_context * ctx)"),
        ("void llama_model_free(struct llama_model * model)", "void llama_model_free(struct llama_context * model)"),
        ("size_t size, llama_seq_id dest_seq_id, ", "llama_seq_id dest_seq_id, "),  # a missing argument
        ("llama_sampler_init_top_p(float p, size_t min_keep)", "llama_sampler_init_top_p(float p, int32_t min_keep)"),
        ("typedef int32_t llama_pos;", "typedef int64_t llama_pos;"),
    ],
)
def test_a_declaration_that_does_not_fit_fails_the_build(tmp_path: Path, old: str, new: str) -> None:
    result = compiles(doctored(old, new), tmp_path)
    assert result.returncode != 0
    assert "error" in result.stderr


def test_a_wrong_enumerator_fails_the_build(tmp_path: Path) -> None:
    text = abi_check.generate().replace("LLAMA_POOLING_TYPE_MEAN == 1", "LLAMA_POOLING_TYPE_MEAN == 2")
    (tmp_path / "check.c").write_text(text)
    result = subprocess.run(["cc", *FLAGS, *INCLUDES, str(tmp_path / "check.c")], capture_output=True, text=True, check=False)
    assert "enum llama_pooling_type: LLAMA_POOLING_TYPE_MEAN" in result.stderr


def test_every_declared_function_is_in_the_library() -> None:
    names = [function.name for function in abi_check.parse().functions]
    assert len(names) == len(set(names)) > 100
    for name in names:
        assert callable(getattr(library(), name))


def test_undeclared_names_are_errors() -> None:
    with pytest.raises(AttributeError):
        _ = library().llama_no_such_function
    parameters = library().llama_model_default_params()
    with pytest.raises(AttributeError):
        parameters.no_such_field = 1


def test_a_handle_of_another_kind_is_a_type_error() -> None:
    wrong = ctypes.pointer(structs["llama_context"]())
    with pytest.raises(ctypes.ArgumentError):
        library().llama_model_free(wrong)


def test_a_library_of_another_commit_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "lib"
    shutil.copytree(find_folder(), folder)
    build = json.loads((folder / "build.json").read_text())
    (folder / "build.json").write_text(json.dumps({**build, "commit": "fffffffff"}))
    with pytest.raises(LibraryError, match="fffffffff"):
        Library(folder)


@pytest.mark.parametrize("content", [None, "", "{"])
def test_missing_or_damaged_build_information(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "build.json").write_text(content)
    with pytest.raises(LibraryError, match="build information"):
        Library(tmp_path)


def test_a_missing_library_is_a_clear_error(tmp_path: Path) -> None:
    shutil.copy(find_folder() / "build.json", tmp_path)
    with pytest.raises(LibraryError, match="cannot load the native library"):
        Library(tmp_path)


def test_native_lines_go_to_logging_and_nowhere_else(tiny_model: Path) -> None:
    code = (
        "import logging, sys\n"
        "from pathlib import Path\n"
        "from llamacli.engine.runtime.model import Model\n"
        "from llamacli.engine.runtime.context import Context\n"
        "from llamacli.engine.params import ContextParams\n"
        "from llamacli.errors import ModelError\n"
        "with Model(Path(sys.argv[1])) as model, Context(model, ContextParams(n_ctx=64)):\n    pass\n"
        "try:\n    Model(Path(sys.argv[0]))\nexcept ModelError:\n    pass\n"
    )
    script = tiny_model.parent / "quiet.py"
    script.write_text(code)
    result = subprocess.run(
        [sys.executable, str(script), str(tiny_model)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert (result.stdout, result.stderr) == ("", "")


def test_the_log_is_complete_for_those_who_ask(tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    from llamacli.engine.runtime.model import Model

    with caplog.at_level(logging.INFO, "llamacli.native"):
        log.route()
        Model(tiny_model).close()
    assert any("general.architecture" in record.message for record in caplog.records)
    log.route()


@pytest.mark.parametrize(
    ("environ", "inside"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
    ids=["unset", "count", "policy"],
)
def test_threads_wait_shortly_unless_the_user_decides(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], inside: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    before, seen = dict(os.environ), []
    monkeypatch.setattr(Library, "_load", lambda self, folder: seen.append(os.environ.get("GOMP_SPINCOUNT")))
    monkeypatch.setattr(Library, "llama_backend_init", lambda self: None, raising=False)
    follows: list[bool] = []
    monkeypatch.setattr(Library, "llamacli_follow_load", lambda self, follow: follows.append(follow), raising=False)
    folder = find_folder()
    Library(folder)
    assert seen == [inside]
    assert dict(os.environ) == before, "only while the library is loaded"
    Library(folder, waits_shortly=False)
    assert seen == [inside, environ.get("GOMP_SPINCOUNT")], "a measurement waits as llama.cpp's programs do"
    assert follows == [not environ, False]
