"""No command loads the native library in the user's process: it is in the child, whose death is one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import os, sys
from llamacli import cli
program, end = os.getpid(), os._exit

def check(status):
    with open("/proc/self/maps") as file:
        mapped = file.read()
    if os.getpid() == program and ("libllama" in mapped or "libggml" in mapped):
        os.write(2, b"the native library is in the user's process\\n")
        end(99)
    end(status)

os._exit = check
sys.argv[0] = "llamacli"
cli.main()
"""

SCHEMA = '{"type": "object", "properties": {"a": {"type": "integer"}}}'

COMMANDS = [
    (("run", "-m", "MODEL", "-n", "2", "Hello"), 0),
    (("run", "-m", "MODEL", "-n", "2", "-j", SCHEMA, "Hello"), 5),
    (("tokenize", "-m", "MODEL", "Hello"), 0),
    (("tokenize", "-m", "MODEL", "--json", "Hello"), 0),
    (("tokenize", "-m", "MODEL", "--chat", "Hello"), 0),
    (("tokenize", "-m", "MODEL", "--compare", "MODEL", "Hello"), 0),
    (("tokenize", "-m", "MODEL", "--detokenize", "65"), 0),
    (("info", "MODEL"), 0),
    (("info", "MODEL", "--json"), 0),
    (("info", "MODEL", "--fit"), 0),
    (("info", "MODEL", "--check"), 0),
    (("info", "MODEL", "--template"), 0),
    (("info", "MODEL", "--hash"), 0),
    (("info", "MODEL", "--diff", "MODEL"), 0),
    (("info", "--system"), 0),
    (("models", "list"), 0),
    (("models", "show", "MODEL"), 0),
    (("models", "quantize", "--forecast", "MODEL", "none.gguf", "Q8_0"), 0),
    (("models", "quantize", "MODEL", "OUT", "Q8_0"), 0),
    (("grammar", "allowed", "-m", "MODEL", "GRAMMAR"), 0),
    (("embed", "-m", "MODEL", "--pooling", "mean", "Hello"), 0),
    (("config", "show"), 0),
    (("help", "models"), 0),
    (("--help",), 0),
]
"""Command lines and their exit statuses."""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("arguments", "status"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_the_library_is_not_in_the_users_process(
    tiny_model: Path, tmp_path: Path, arguments: tuple[str, ...], status: int
) -> None:
    grammar = tmp_path / "a.gbnf"
    grammar.write_text('root ::= "a"')
    names = {"MODEL": str(tiny_model), "OUT": str(tmp_path / "out.gguf"), "GRAMMAR": str(grammar)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, *(names.get(word, word) for word in arguments)],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_program_of_this_test_notices_the_library(tmp_path: Path) -> None:
    code = PROGRAM.replace("cli.main()", "from llamacli.binding.library import library; library(); os._exit(0)")
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, "in the user's process" in done.stderr) == (99, True)


def test_the_documentation_is_written_without_the_library() -> None:
    code = (
        "import runpy, sys\nsys.argv = ['docs', '--check']\n"
        "try: runpy.run_module('llamacli.cli.docs', run_name='__main__')\nexcept SystemExit: pass\n"
        "print('libllama' in open('/proc/self/maps').read())\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.split()[-1] == "False"
