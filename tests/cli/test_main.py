"""The frame of the command line: help, version, options in every spelling, usage errors, exit statuses."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from fakes import FakeEngine, invoke
from typer.core import TyperGroup

from llamacli import __version__, errors
from llamacli.binding.location import library_name
from llamacli.cli import main
from llamacli.cli.boundary import STATUS, describe
from llamacli.cli.framework.command import command
from llamacli.cli.framework.console import Terminals
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ContextOptions, GenerationOptions, ModelOptions, SamplingOptions
from llamacli.cli.framework.parameters import Option, environment_variable
from llamacli.cli.program import Program
from llamacli.cli.registry import REGISTRY
from llamacli.engine.params import ContextParams, GenerationParams, LoraAdapter, ModelParams, SamplingParams

ROOT = Path(__file__).parents[2]
PROGRAM = Program(REGISTRY)
ALL_TERMINALS = Terminals(stdin=True, stdout=True, stderr=True)


def every_command(group=PROGRAM, path=()):
    """Every command with its path, groups left out."""
    context = typer.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, TyperGroup):
            yield from every_command(found, (*path, name))
        else:
            yield (*path, name), found


COMMANDS = dict(every_command())


# --- help and version ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_help_fits_the_width_and_names_every_option(path, width):
    whole = "--help-all" if COMMANDS[path].params[-1].name == "help_all" else "--help"
    result = invoke(*path, whole, width=width)
    assert result.status == 0
    assert result.stderr == ""
    for line in result.stdout.splitlines():
        assert len(line) <= max(width, 40) or line.startswith("  "), line
    shown = " ".join(result.stdout.split())
    for parameter in COMMANDS[path].params:
        if isinstance(parameter, Option):
            assert all(name in shown for name in parameter.opts)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_is_complete(path):
    for parameter in COMMANDS[path].params:
        assert parameter.help, parameter.name
        if not isinstance(parameter, Option):
            continue
        assert any(name.startswith("--") for name in parameter.opts), parameter.name
        if parameter.name not in ("help", "help_all", "version"):
            assert parameter.envvar is None or parameter.envvar[0] == environment_variable(parameter.opts)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_two_options_share_a_name(path):
    names = [name for p in COMMANDS[path].params if isinstance(p, Option) for name in (*p.opts, *p.secondary_opts)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_examples_are_command_lines_that_parse(path):
    """Each word of an example that looks like an option is one."""
    known = {name for p in COMMANDS[path].params if isinstance(p, Option) for name in (*p.opts, *p.secondary_opts)}
    for _, line in COMMANDS[path].examples:
        ours = line.partition("llamacli ")[2].partition("|")[0]
        outside_quotes = re.sub(r"'[^']*'|\"[^\"]*\"", "", ours)
        for word in outside_quotes.split():
            assert not word.startswith("-") or word.partition("=")[0] in known, line


@pytest.mark.parametrize("entry", REGISTRY, ids=lambda entry: entry.name)
def test_the_summary_in_the_list_is_the_first_sentence_of_the_help(entry):
    found = PROGRAM.get_command(typer.Context(PROGRAM), entry.name)
    assert inspect.cleandoc(found.help).splitlines()[0].removesuffix(".") == entry.summary


def test_root_help_lists_all_commands_without_loading_any():
    script = (
        "import sys; from llamacli.cli import main; status = main(['--help']);"
        "heavy = ('llamacli.engine.engine', 'llamacli.binding', 'llamacli.cli.run.command');"
        "loaded = [m for m in sys.modules if m.startswith(heavy)];"
        "sys.exit(str(loaded) if loaded else status)"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(f"  {entry.name} " in result.stdout for entry in REGISTRY)


def test_a_run_does_not_load_what_it_does_not_need():
    script = (
        "import sys; sys.path.insert(0, 'tests/support'); from fakes import invoke; assert invoke('run', 'x').status == 0;"
        "heavy = {'pydantic', 'rich', 'numpy', 'huggingface_hub', 'prompt_toolkit', 'asyncio', 'jsonschema', "
        "'llamacli.grammar.gbnf', 'llamacli.documents.web', 'llamacli.documents.ignore', 'bs4', "
        "'llamacli.batch.shard_record', 'llamacli.render.code'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_version_comes_before_typer_is_imported():
    script = (
        "import sys; from llamacli.cli import main; status = main(['--version']); sys.exit('typer' in sys.modules or status)"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"llamacli {__version__}\n")


def test_version_says_what_was_built(tmp_path, monkeypatch, capfd):
    (tmp_path / "binding" / "lib").mkdir(parents=True)
    (tmp_path / "binding" / "lib" / "build.json").write_text(
        '{"commit": "abc123", "system_info": "CPU : AVX = 1 | NEON = 0 | LLAMAFILE = 1 | ", "backends": ["CPU", "CUDA"],'
        ' "compiler": "GNU 13", "rpc_protocol": [7, 0, 1], "media": "libmtmd"}'
    )
    (tmp_path / "binding" / "lib" / library_name("llamacli-shim")).touch()
    monkeypatch.setattr("llamacli.__path__", [str(tmp_path)])
    assert main(["--version"]) == 0
    rows = [
        "llama.cpp abc123", "features: AVX LLAMAFILE", "backends: CPU, CUDA", "RPC protocol: 7.0.1", "media: libmtmd",
        "compiler: GNU 13",
    ]  # fmt: skip
    expected = "\n".join([f"llamacli {__version__}", *rows, ""])
    assert capfd.readouterr().out == expected
    assert invoke("--version").stdout == expected


@pytest.mark.parametrize("content", [None, "", "[]", "{", "\udcff"])
def test_version_without_a_library(tmp_path, monkeypatch, capfd, content):
    if content is not None:
        (tmp_path / "binding" / "lib").mkdir(parents=True)
        (tmp_path / "binding" / "lib" / "build.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    monkeypatch.setattr("llamacli.__path__", [str(tmp_path)])
    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"llamacli {__version__}\nnative library not built\n"


def test_without_a_command_the_help_goes_to_stderr_as_a_usage_error():
    result = invoke()
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: llamacli COMMAND")


@pytest.mark.parametrize(
    ("environ", "terminals", "coloured"),
    [
        ({}, Terminals(), False),
        ({}, ALL_TERMINALS, True),
        ({"NO_COLOR": "1"}, ALL_TERMINALS, False),
        ({"NO_COLOR": ""}, ALL_TERMINALS, True),
        ({"TERM": "dumb"}, ALL_TERMINALS, False),
        ({"FORCE_COLOR": "1"}, Terminals(), True),
        ({"FORCE_COLOR": "0"}, Terminals(), False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, Terminals(), False),
    ],
)
def test_help_is_coloured_where_it_may_be(environ, terminals, coloured):
    assert ("\x1b[" in invoke("run", "--help", environ=environ, terminals=terminals).stdout) == coloured


@pytest.mark.parametrize(("mode", "coloured"), [("always", True), ("never", False)])
def test_color_option_is_stronger_than_the_environment(mode, coloured):
    environ = {"NO_COLOR": "1"} if coloured else {"FORCE_COLOR": "1"}
    result = invoke("run", "x", "--color", mode, environ=environ, engine=FakeEngine(error=errors.DecodeError("no")))
    assert ("\x1b[" in result.stderr) == coloured


# --- options ---------------------------------------------------------------------------------------------------------


def test_every_engine_parameter_has_an_option():
    """Defaults are the engine's, and every field can be set but for those that commands decide themselves."""
    assert ModelOptions().params() == ModelParams()
    assert ContextOptions().params() == ContextParams()
    assert SamplingOptions().params() == SamplingParams()
    assert GenerationOptions().params(SamplingParams()) == GenerationParams()
    assert [option.name for option in SamplingOptions.declared()] == [field.name for field in fields(SamplingParams)]


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ("-ngl 99", "gpu_layers", 99),
        ("-ngl=99", "gpu_layers", 99),
        ("-ngl all", "gpu_layers", -1),
        ("-ngl auto", "gpu_layers", None),
        ("--gpu-layers 3", "gpu_layers", 3),
        ("--n-gpu-layers=3", "gpu_layers", 3),
        ("-sm row", "split_mode", "row"),
        ("-ts 3,1", "tensor_split", (3.0, 1.0)),
        ("-mg 1", "main_gpu", 1),
        ("-dev CUDA0,CUDA1", "devices", ("CUDA0", "CUDA1")),
        ("--no-mmap", "mmap", False),
        ("--mlock", "mlock", True),
        ("--lora a.gguf", "loras", (LoraAdapter(path="a.gguf"),)),
        (
            "--lora a.gguf:0.5 --lora C:b:c",
            "loras",
            (LoraAdapter(path="a.gguf", scale=0.5), LoraAdapter(path="C:b:c")),
        ),
    ],
)
def test_model_options(arguments, field, value):
    result = invoke("run", *arguments.split(), "x")
    assert result.status == 0, result.stderr
    assert getattr(result.engine.model, field) == value


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ("-c 100", "n_ctx", 100),
        ("-c0", "n_ctx", 0),
        ("--ctx-size=100", "n_ctx", 100),
        ("-t 3 -tb 5", "threads_batch", 5),
        ("-t -1", "threads", None),
        ("-b 32 -ub 16", "n_ubatch", 16),
        ("-fa on", "flash_attention", "on"),
        ("-ctk q8_0 -ctv q4_0", "cache_type_v", "q4_0"),
        ("--no-kv-offload", "kv_offload", False),
        ("--rope-scaling yarn", "rope_scaling", "yarn"),
    ],
)
def test_context_options(arguments, field, value):
    result = invoke("run", *arguments.split(), "x")
    assert result.status == 0, result.stderr
    assert getattr(result.engine.context, field) == value


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ("--temp 0", "temperature", 0.0),
        ("--temperature 0.5", "temperature", 0.5),
        ("-s 42", "seed", 42),
        ("-s -1", "seed", None),
        ("--top-k 1 --top-p .5 --min-p 0", "top_p", 0.5),
        ("--samplers top_k;temperature", "samplers", ("top_k", "temperature")),
        ("--samplers top_k,temperature", "samplers", ("top_k", "temperature")),
        ("-l 15+1.5 -l 16-2 --logit-bias 18=-3", "logit_bias", ((15, 1.5), (16, -2.0), (18, -3.0))),
        ("-l 17=false", "logit_bias", ((17, float("-inf")),)),
        ("--ignore-eos", "ignore_eos", True),
        ("--mirostat 2", "mirostat", 2),
        ("--dry-sequence-breaker a --dry-sequence-breaker b", "dry_sequence_breakers", ("a", "b")),
        ("--dry-sequence-breaker none", "dry_sequence_breakers", ()),
        ("--top-nsigma 1", "top_n_sigma", 1.0),
    ],
)  # fmt: skip
def test_sampling_options(arguments, field, value):
    result = invoke("run", *arguments.split(), "x")
    assert result.status == 0, result.stderr
    assert getattr(result.engine.params.sampling, field) == value


def test_short_names_of_several_letters_do_not_clash_with_one_letter_ones():
    line = "-n 2 -ngl 5 -s 1 -sys brief -sm none -t 1 -tb 2 -ts 1 x"
    result = invoke("run", *line.split())
    assert result.status == 0, result.stderr
    assert result.engine.params.max_tokens == 2
    assert result.engine.params.sampling.seed == 1
    assert result.engine.messages[0] == {"role": "system", "content": "brief"}
    assert (result.engine.context.threads, result.engine.context.threads_batch) == (1, 2)


def test_the_environment_sets_options_and_the_command_line_is_stronger(monkeypatch):
    monkeypatch.setenv("LLAMACLI_PREDICT", "1")
    monkeypatch.setenv("LLAMACLI_TEMP", "0.25")
    monkeypatch.setenv("LLAMACLI_MMAP", "off")
    monkeypatch.setenv("LLAMACLI_STOP", "one stop\nanother")
    monkeypatch.setenv("LLAMACLI_TOP_K", "")
    result = invoke("run", "x", "-n", "3")
    assert result.status == 0, result.stderr
    params = result.engine.params
    assert (params.max_tokens, params.sampling.temperature, params.sampling.top_k) == (3, 0.25, 40)
    assert params.stop == ("one stop", "another")
    assert result.engine.model.mmap is False


def test_settings_come_between_the_environment_and_the_defaults(monkeypatch):
    monkeypatch.setenv("LLAMACLI_TEMP", "0.25")
    defaults = {"temperature": 0.75, "top_k": 7, "top_p": 0.5, "stop": ["a", "b"], "mmap": False, "unknown": 1}
    params = invoke("run", "x", "--top-p", "0.1", defaults=defaults).engine.params
    assert (params.sampling.temperature, params.sampling.top_k, params.sampling.top_p) == (0.25, 7, 0.1)
    assert params.stop == ("a", "b")


@pytest.mark.parametrize(
    ("name", "value"), [("LLAMACLI_CTX_SIZE", "many"), ("LLAMACLI_MMAP", "maybe"), ("LLAMACLI_VERBOSE", "x")]
)
def test_an_error_in_the_environment_names_the_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    result = invoke("run", "x")
    assert result.status == 2
    assert name in result.stderr
    assert value in result.stderr


def test_an_error_in_the_settings_names_the_setting():
    result = invoke("run", "x", defaults={"top_k": "many"})
    assert result.status == 2
    assert result.stderr == "llamacli: error: invalid value for the setting top-k: 'many' is not a whole number\n"


# --- usage errors ----------------------------------------------------------------------------------------------------

USAGE_ERRORS = [
    (["rnu", "x"], "no such command: rnu (did you mean run?)"),
    (["why is the sky blue?"], "no such command: why is the sky blue? (to ask a model something, write llamacli run"),
    (["xyzzy"], "no such command: xyzzy (llamacli --help lists them)"),
    (["--halp"], "no such option: --halp (did you mean --help?)"),
    (["-v", "run"], "no such option: -v (options come after the command)"),
    (["-m", "a.gguf", "run"], "no such option: -m (options come after the command)"),
    (["run", "--tmep", "1", "x"], "no such option: --tmep (did you mean --temp?)"),
    (["run", "--temp-erature=1", "x"], "did you mean --temperature?"),
    (["run", "-temp", "1", "x"], "no such option: -temp (did you mean --temp?)"),
    (["run", "-model=x", "x"], "no such option: -model (did you mean --model?)"),
    (["run", "--xyzzy"], "no such option: --xyzzy (--help-all lists them)"),
    (["run", "-5 + 3 = ?"], "write -- before text that begins with a dash"),
    (["run", "why", "is", "it"], "unexpected argument: is it (put text of several words in quotes)"),
    (["info", "a.gguf", "b.gguf"], "unexpected argument: b.gguf (info takes one MODEL)"),
    (["bench", "show", "1", "2"], "unexpected argument: 2 (show takes one RUN)"),
    (["models", "list", "x"], "unexpected argument: x (list takes options only)"),
    (["run", "-f", "http://a.org/x?y#z", "x"], "http://a.org/x?y is not an https:// address"),
    (["embed", "-c"], "option '-c' requires an argument"),
    (["run", "-c"], "-c needs a value (did you mean -C, --continue?)"),
    (["run", "-n", "-5", "x"], "-5 is not a number from 0, or -1 for no limit"),
    (["run", "-n", "few", "x"], "'few' is not a whole number"),
    (["run", "-n", "9" * 5000, "x"], "is not a whole number"),
    (["run", "-c", "99999999999", "x"], "-c must be from 0 to 2147483647"),
    (["run", "-c", "-1", "x"], "-c must be from 0"),
    (["run", "-b", "0", "x"], "-b must be at least 1"),
    (["run", "-t", "0", "x"], "-t must be from 1 to 512"),
    (["run", "--temp", "nan", "x"], "--temp/--temperature: 'nan' is not a finite number"),
    (["run", "--top-p", "inf", "x"], "'inf' is not a finite number"),
    (["run", "--temp", "warm", "x"], "'warm' is not a number"),
    (["run", "-fa", "maybe", "x"], "'maybe' is not one of auto, on, off"),
    (["run", "-ctk", "q9", "x"], "'q9' is not one of f32"),
    (["run", "-ngl", "-5", "x"], "'-5' is not auto, all or a number from 0"),
    (["run", "-ngl", "some", "x"], "'some' is not auto, all or a number from 0"),
    (["run", "-ts", "a,b", "x"], "'a' is not a number"),
    (["run", "--samplers", "top_q", "x"], "unknown sampler top_q"),
    (["run", "-l", "Hello+1", "x"], "is not a token and a bias"),
    (["run", "--mirostat", "3", "x"], "'3' is not one of 0, 1, 2"),
    (["run", "-s", "4294967296", "x"], "-s must be from 0"),
    (["run", "--repeat-penalty", "0", "x"], "--repeat-penalty must be greater than 0"),
    (["run", "--stop", "", "x"], "--stop must not be an empty string"),
    (["run", "--lora", "", "x"], "the path is empty"),
    (["run", "--color", "pink", "x"], "'pink' is not one of auto, always, never"),
    (["run", "--stats=yes", "x"], "does not take a value"),
    (["run", "a\udcffb"], "not valid UTF-8"),
    (["run", "-sys", "a\udcff", "x"], "not valid UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "says"), USAGE_ERRORS, ids=[" ".join(map(ascii, a))[:40] for a, _ in USAGE_ERRORS])
def test_usage_errors_are_one_line_and_exit_2(arguments, says):
    result = invoke(*arguments)
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.startswith("llamacli: error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr
    assert result.engine.path is None, "a model was loaded before the command line was checked"


def test_control_characters_in_a_message_are_shown_as_marks():
    result = invoke("run", "--temp", "\x1b]0;title\x07\n", "x")
    assert result.status == 2
    assert r"\x1b]0;title\x07\n" in result.stderr
    assert "\x1b" not in result.stderr
    assert result.stderr.count("\n") == 1


# --- the boundary ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.LlamacliError("x"), 1),
        (errors.UsageError("x"), 2),
        (errors.SettingsError("x"), 2),
        (errors.ModelError("x"), 3),
        (errors.ModelNotFoundError("x"), 3),
        (errors.ModelFileError("x"), 3),
        (errors.TemplateError("x"), 3),
        (errors.StateError("x"), 3),
        (errors.ContextFullError("x", needed=2, available=1), 4),
        (errors.MemoryFullError("x"), 4),
        (MemoryError(), 4),
        (errors.SchemaError("x"), 5),
        (errors.ConstraintError("x"), 5),
        (errors.RowsFailedError("x", failed=1, total=2), 6),
        (errors.DecodeError("x"), 7),
        (errors.LibraryError("x"), 7),
        (errors.GateError("x"), 8),
        (errors.CancelledError("x"), 130),
        (KeyboardInterrupt(), 130),
        (PermissionError(13, "Permission denied", "/x"), 1),
        (RuntimeError("boom"), 1),
    ],
)
def test_exit_statuses(error, status):
    result = invoke("run", "x", engine=FakeEngine(error=error))
    assert result.status == status
    assert result.stderr.count("\n") == (0 if status == 130 else 1)
    assert "Traceback" not in result.stderr
    assert result.engine.closed


def test_every_branch_of_the_error_tree_has_a_status():
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.LlamacliError):
            matching = [status for branch, status in STATUS if issubclass(kind, branch)]
            assert matching, name
            assert matching[0] != 1 or kind in (errors.LlamacliError, errors.StorageError, errors.FetchError), (
                f"{name} has no status of its own"
            )


def test_the_traceback_is_shown_only_with_debug():
    engine = FakeEngine(error=RuntimeError("boom"))
    plain, debug = invoke("run", "x", engine=engine), invoke("run", "x", "--debug", engine=engine)
    assert plain.stderr == "llamacli: error: unexpected RuntimeError: boom (this is a bug; --debug shows the traceback)\n"
    assert "Traceback" in debug.stderr
    assert debug.stderr.splitlines()[-1] == plain.stderr.strip()
    assert "Traceback" in invoke("run", "x", engine=engine, environ={"LLAMACLI_DEBUG": "1"}).stderr


def test_hints_are_part_of_the_line():
    assert describe(errors.ModelError("no model", hint="get one")) == (3, "no model (get one)")


# --- the decorator ---------------------------------------------------------------------------------------------------


def test_two_options_of_one_name_are_refused_when_the_command_is_made():
    with pytest.raises(TypeError, match="two options called predict"):

        @command()
        def broken(app: AppContext, *, once: GenerationOptions, again: GenerationOptions) -> None:
            """Never runs."""


def test_only_the_console_touches_the_process_streams():
    """One console owns stdin, stdout, stderr and the environment."""
    for path in (ROOT / "llamacli" / "cli").glob("*.py"):
        if path.name in ("console.py", "version.py", "interrupt.py"):
            continue
        nodes = list(ast.walk(ast.parse(path.read_text())))
        called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
        named = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
        assert not called & {"print", "input", "exit"}, path.name
        assert not named & {"sys.stdout", "sys.stderr", "sys.stdin", "os.environ", "sys.exit"}, path.name


def test_the_same_command_twice_in_one_process_leaves_nothing_behind():
    first = invoke("run", "x", "-v", engine=FakeEngine(has_chat_template=False))
    second = invoke("run", "x", engine=FakeEngine(has_chat_template=False))
    assert "no chat template" in first.stderr
    assert second.stderr == ""
    assert os.environ.get("COLUMNS") is None


@pytest.mark.parametrize("arguments", [[], ["--tensors"], ["--check"], ["--fit"]])
def test_our_own_styles_are_not_escaped_on_a_terminal(tiny_model, arguments):
    """`console.show` is for text from outside as it is; what render has put together, and escaped, goes through `write`."""
    shown = invoke("info", str(tiny_model), *arguments, terminals=ALL_TERMINALS)
    assert shown.status == 0, shown.stderr
    assert r"\x1b" not in shown.stdout
