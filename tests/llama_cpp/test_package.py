"""The package under llama-cpp-python's name: its names, its types, and programs that import `llama_cpp`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llamacli import llama_cpp
from llamacli.llama_cpp.install import SUBMODULES

PROGRAM = """
import llamacli
llamacli.install_as_llama_cpp()
llamacli.install_as_llama_cpp()
import llama_cpp, llama_cpp.llama_types as types
from llama_cpp import Llama, LlamaGrammar, LlamaRAMCache, LogitsProcessorList, LLAMA_POOLING_TYPE_MEAN
from llama_cpp.llama_chat_format import Jinja2ChatFormatter, format_llama2, format_chatml
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding
from llama_cpp.llama_tokenizer import LlamaHFTokenizer
from llama_cpp.llama_grammar import JSON_GBNF, json_schema_to_gbnf
from llama_cpp.llama_cache import LlamaDiskCache
assert llama_cpp.llama_supports_mmap() in (True, False)
assert llama_cpp.llama_cpp.llama_max_devices() >= 1
assert "[INST] hi [/INST]" in format_llama2(messages=[types.ChatCompletionRequestUserMessage(role="user", content="hi")]).prompt
assert "root" in json_schema_to_gbnf('{"type": "string"}')
LlamaGrammar.from_string(JSON_GBNF)
with Llama(model_path=%r, n_ctx=64, verbose=False) as llm:
    assert llm("Hello", max_tokens=2)["choices"]
"""


def test_programs_import_it_as_llama_cpp(tiny_model: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM % str(tiny_model)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_another_llama_cpp_is_in_the_way() -> None:
    code = "import sys, types; sys.modules['llama_cpp'] = types.ModuleType('llama_cpp')"
    code += "\nimport llamacli; llamacli.install_as_llama_cpp()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "imported before" in done.stderr


@pytest.mark.parametrize("name", SUBMODULES)
def test_the_submodules_have_what_they_list(name: str) -> None:
    module = getattr(llama_cpp, name)
    assert module.__doc__
    for item in module.__all__:
        assert getattr(module, item) is not None


def test_names_come_from_all_rooms() -> None:
    for name in ("Llama", "LlamaState", "StoppingCriteriaList", "ChatCompletionMessage", "llama_decode", "LLAMA_TOKEN_NULL"):
        assert name in llama_cpp.__all__
        assert getattr(llama_cpp, name) is not None
    with pytest.raises(AttributeError):
        _ = llama_cpp.no_such_name
