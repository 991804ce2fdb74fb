"""The build backend and what it makes: the wheel, the sdist, and the last line of each build that fails."""

from __future__ import annotations

import email.parser
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import llamacli_backend
import pytest

from llamacli.cli.help.topics import TOPICS

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {*llamacli_backend.CONFIGURING, "CMAKE_ARGS", "LLAMACLI_LLAMA_CPP_DIR"}

needs_cmake = pytest.mark.skipif(not shutil.which("cmake") or not shutil.which("c++"), reason="no cmake or no C++ compiler")


def call_backend(
    hook: str, folder: Path, *, settings: dict[str, str] | None = None, clean: bool = True, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Call a hook as pip does: in a process of its own, at the root of the checkout; `clean` of the developer's own options."""
    code = "import json, sys, llamacli_backend as b; print(getattr(b, sys.argv[1])(sys.argv[2], json.loads(sys.argv[3])))"
    kept = {name: value for name, value in os.environ.items() if not clean or name not in OPTIONS}
    return subprocess.run(
        [sys.executable, "-c", code, hook, str(folder), json.dumps(settings)],
        cwd=ROOT,
        env={**kept, "PYTHONPATH": str(ROOT / "vendor"), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout, from the build folder that is there: a first build takes minutes, and is not for a test."""
    folder = Path(llamacli_backend._build_folder({}))
    if not (ROOT / folder / "CMakeCache.txt").exists():
        pytest.skip(f"{folder} is not there; `pip install .` makes it")
    out = tmp_path_factory.mktemp("wheel")
    done = call_backend("build_wheel", out, clean=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_wheel_holds_the_libraries_and_no_development_files(wheel: zipfile.ZipFile) -> None:
    assert Path(str(wheel.filename)).name.startswith("llamacli-0.2.0-py3-none-")
    files = [name for name in wheel.namelist() if not name.endswith("/")]
    libraries = {name.removeprefix("llamacli/binding/lib/") for name in files if name.startswith("llamacli/binding/lib/")}
    names = {name.split(".")[0] for name in libraries}
    assert {"libllama", "libllama-common", "libggml", "libggml-base", "libllamacli-shim", "libmtmd", "build"} <= names
    assert any(name.startswith("libggml-cpu") for name in names)
    assert all(name.endswith((".so", ".dylib", ".metallib", "build.json", "functionary.jinja")) for name in libraries)
    others = {Path(name).suffix for name in files if name.startswith("llamacli/")} - {Path(name).suffix for name in libraries}
    assert others <= {".py", ".pyi", ".typed", ".gbnf", ".md", ".toml", ".json", ".html", ".txt"}
    data = ("llama_cpp/llama_cpp.pyi", "server/page/page.html", "store/models/hub_catalogue.json")
    assert {f"llamacli/{name}" for name in data} <= set(files)
    templates = ROOT / "llamacli/store/templates/builtin"
    assert {f"llamacli/store/templates/builtin/{file.name}" for file in templates.glob("*.toml")} <= set(files)
    assert {f"llamacli/cli/help/guides/{topic.name}.md" for topic in TOPICS} <= set(files)
    assert {name.split("/")[0] for name in files} == {"llamacli", "llamacli-0.2.0.data", "llamacli-0.2.0.dist-info"}


def test_wheel_puts_man_pages_and_completions_in_their_places(wheel: zipfile.ZipFile) -> None:
    share = "llamacli-0.2.0.data/data/share"
    found = {name.removeprefix(f"{share}/") for name in wheel.namelist() if ".data/" in name and not name.endswith("/")}
    assert found == {
        *(f"man/man1/{page.name}" for page in (ROOT / "man").glob("*.1")),
        *(f"man/man7/{page.name}" for page in (ROOT / "man").glob("*.7")),
        "bash-completion/completions/llamacli",
        "zsh/site-functions/_llamacli",
        "fish/vendor_completions.d/llamacli.fish",
        *(f"llamacli/keys.{shell}" for shell in ("bash", "zsh", "fish")),
    }


def test_wheel_holds_the_licences(wheel: zipfile.ZipFile) -> None:
    info = "llamacli-0.2.0.dist-info"
    metadata = email.parser.Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    stated = metadata.get_all("License-File")
    assert stated is not None
    assert "vendor/licenses/llama.cpp.txt" in stated
    assert "The ggml authors" in wheel.read(f"{info}/licenses/vendor/licenses/llama.cpp.txt").decode()
    assert set(stated) == {name.removeprefix(f"{info}/licenses/") for name in wheel.namelist() if "/licenses/" in name}


def test_wheel_runs_moved_read_only_and_from_anywhere(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "first")
    site = tmp_path / "moved" / "site packages"
    site.parent.mkdir()
    (tmp_path / "first").rename(site)
    for path in [*site.rglob("*"), site]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = "import sys; sys.path.insert(0, sys.argv[1])\nfrom llamacli.binding.library import library\nprint(library().folder)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code, str(site)], cwd="/", capture_output=True, text=True, check=False
    )
    for path in [site, *site.rglob("*")]:
        path.chmod(0o755)
    assert (done.stderr, done.returncode) == ("", 0)
    assert Path(done.stdout.strip()) == site / "llamacli" / "binding" / "lib"


@pytest.mark.skipif(not shutil.which("readelf"), reason="no readelf")
def test_libraries_look_for_each_other_beside_themselves_only(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    for name in wheel.namelist():
        if name.endswith(".so"):
            path = wheel.extract(name, tmp_path)
            dynamic = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
            places = [line for line in dynamic.splitlines() if "RUNPATH" in line or "RPATH" in line]
            assert all(line.endswith("[$ORIGIN]") for line in places), name


def test_sdist_holds_our_sources_only(tmp_path: Path) -> None:
    done = call_backend("build_sdist", tmp_path)
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames()}
    needed = {"pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE", "llamacli/errors.py", "tests/run.py"}
    needed |= {
        f"vendor/{name}" for name in ("llama_cpp.toml", "llamacli_source.py", "llamacli_backend.py", "licenses/llama.cpp.txt")
    }
    assert needed <= names
    assert not [name for name in names if name.startswith(("vendor/llama.cpp", "build/", "llamacli/binding/lib/"))]
    assert not [name for name in names if name.endswith((".so", ".dylib", ".pyc"))]


def last_error(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed hook says at the end. No hook may fail with a traceback."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.rpartition("llamacli: error: ")[2]


def test_no_compiler(tmp_path: Path) -> None:
    message = last_error(call_backend("build_wheel", tmp_path, PATH=str(tmp_path)))
    assert message.startswith("A C++ compiler was not found")
    assert "apt install g++" in message
    assert "xcode-select --install" in message


def test_the_compiler_that_was_named_is_not_there(tmp_path: Path) -> None:
    assert last_error(call_backend("build_wheel", tmp_path, CXX="c++-of-nobody -O2")).startswith(
        "c++-of-nobody, which CXX names,"
    )


@pytest.mark.parametrize("hook", ["build_wheel", "build_editable"])
def test_no_tree_where_the_user_says(tmp_path: Path, hook: str) -> None:
    done = call_backend(hook, tmp_path, settings={"build-dir": str(tmp_path / "b")}, LLAMACLI_LLAMA_CPP_DIR=str(tmp_path))
    assert "LLAMACLI_LLAMA_CPP_DIR" in last_error(done)


def fake_tree(path: Path, cmake: str) -> Path:
    (path / "include").mkdir(parents=True)
    (path / "include" / "llama.h").write_text("")
    (path / "CMakeLists.txt").write_text(cmake)
    return path


@needs_cmake
def test_settings_pass_through_and_a_failed_configuration_is_explained(tmp_path: Path) -> None:
    tree = fake_tree(tmp_path / "tree", 'message(FATAL_ERROR "(${GGML_VULKAN}|${GGML_BLAS}|${LLAMACLI_LLAMA_CPP_COMMIT})")')
    settings = {"build-dir": str(tmp_path / "b" / "x"), "cmake.define.GGML_BLAS": "yes"}
    done = call_backend(
        "build_wheel", tmp_path, settings=settings, LLAMACLI_LLAMA_CPP_DIR=str(tree), CMAKE_ARGS="-DGGML_VULKAN=on"
    )
    assert "(on|yes|unknown)" in done.stdout + done.stderr
    message = last_error(done)
    assert message.startswith("CMake could not set up the build")
    assert str(tmp_path / "b" / "x") in message


@needs_cmake
@pytest.mark.parametrize(
    ("assertion", "said"), [("0", "the ABI check failed"), ("1", "building llama.cpp failed")], ids=["ABI", "another error"]
)
def test_a_failed_build_is_explained(tmp_path: Path, assertion: str, said: str) -> None:
    (tmp_path / "abi_check.c").write_text(f'_Static_assert({assertion}, "struct llama_model_params: size");')
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.21)\nproject(x LANGUAGES C)\nadd_library(llamacli-abi-check OBJECT abi_check.c)\n"
    )
    build = tmp_path / "build"
    subprocess.run(["cmake", "-S", tmp_path, "-B", build, "-G", "Unix Makefiles"], capture_output=True, check=True)
    assert llamacli_backend._explain(build).startswith(said)


def test_each_configuration_has_its_build_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name in llamacli_backend.CONFIGURING or name.startswith(("CMAKE_", "SKBUILD_", "LLAMACLI_")):
            monkeypatch.delenv(name)
    plain = llamacli_backend._build_folder({})
    monkeypatch.setenv("CMAKE_BUILD_PARALLEL_LEVEL", "3")  # how fast, not what
    assert llamacli_backend._build_folder({}) == plain
    seen = {plain, llamacli_backend._build_folder({"cmake.define.LLAMACLI_PORTABLE": "ON"})}
    for name in ("CMAKE_ARGS", "CXX", "LLAMACLI_LLAMA_CPP_DIR"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "-DGGML_CUDA=on")
            seen.add(llamacli_backend._build_folder({}))
    assert len(seen) == 5
    assert llamacli_backend._build_folder({}) == plain


def test_two_builds_take_turns(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib, llamacli_backend as b\n"
        "with b._alone_in(pathlib.Path(sys.argv[1])):\n"
        "    with open(sys.argv[2], 'a') as log: log.write('in ')\n"
        "    time.sleep(0.3)\n"
        "    with open(sys.argv[2], 'a') as log: log.write('out ')\n"
    )
    log = tmp_path / "log"
    command = [sys.executable, "-c", code, str(tmp_path / "build" / "x"), str(log)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "vendor")}
    started = time.monotonic()
    both = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(process.communicate(timeout=30)[0] for process in both)
    assert log.read_text() == "in out in out "
    assert said.count("waiting for another build") == 1
    assert time.monotonic() - started > 0.6


def test_the_sources_take_pip_only_where_they_must_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("LLAMACLI_LLAMA_CPP_DIR", str(fake_tree(tmp_path / "tree", "")))
    assert not [name for name in llamacli_backend.get_requires_for_build_wheel() if name.startswith("pip")]
    monkeypatch.delenv("LLAMACLI_LLAMA_CPP_DIR")
    monkeypatch.setattr(llamacli_backend, "find_tree", lambda own: None)
    for hook in (llamacli_backend.get_requires_for_build_wheel, llamacli_backend.get_requires_for_build_editable):
        assert [name for name in hook() if name.startswith("pip")] == ["pip>=23.1"]


@pytest.mark.parametrize("place", ["environment", "settings"])
def test_the_old_opencl_backend_is_named(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {}
    if place == "environment":
        monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CLBLAST=on")
    else:
        settings = {"cmake.define.GGML_CLBLAST": "ON"}
    with pytest.raises(llamacli_backend.SourceError, match="GGML_OPENCL=on"):
        llamacli_backend._check_options(settings)
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=on")
    llamacli_backend._check_options({})
