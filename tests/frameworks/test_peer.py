"""llama-cpp-python's own tests, fetched from its source distribution on request: LLAMACLI_PEER_TESTS=1.

They run on llamacli under that package's name, with the demo models in place of those that they would download. Left out are
tests of its private names, of models of other kinds, and of one model's words. They need `jinja2` and `scipy`.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import llamacli_source
import pytest

CONFTEST = """
import sys, types
import huggingface_hub
import llamacli

llamacli.install_as_llama_cpp()
llamacli.llama_cpp._internals = sys.modules["llama_cpp._internals"] = types.ModuleType("llama_cpp._internals")
huggingface_hub.hf_hub_download = lambda repository, name: {embedding!r} if "bge" in name else {demo!r}
"""

CHOSEN = "version or embeddings or mistral or tokenizer_config or grammar or candidate"
"""Left out: what asks for `_ctx`, `_internals`, `_is_recurrent` or a call of `load_state`, and for Qwen's words."""


@pytest.mark.demo
@pytest.mark.skipif("LLAMACLI_PEER_TESTS" not in os.environ, reason="LLAMACLI_PEER_TESTS=1 fetches them")
def test_llama_cpp_pythons_own_tests(tmp_path: Path, demo_model: Path, embedding_demo_model: Path) -> None:
    for name in ("jinja2", "scipy"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    fetched = llamacli_source._sdist(llamacli_source.read_pin(), llamacli_source.cache_dir(), tmp_path, os.environ)
    with fetched as archive, tarfile.open(archive) as package:
        tests = [member for member in package.getmembers() if Path(member.name).parts[1:2] == ("tests",)]
        package.extractall(tmp_path, members=tests, filter="data")
    (folder,) = tmp_path.glob("*/tests")
    (folder / "conftest.py").write_text(CONFTEST.format(demo=str(demo_model), embedding=str(embedding_demo_model)))
    options = ["-q", "-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider", "-k", CHOSEN]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(folder)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
