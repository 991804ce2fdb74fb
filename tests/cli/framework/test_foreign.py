"""Spellings of other programs, and names in the environment."""

from __future__ import annotations

import pytest
from fakes import invoke
from talk import TERMINAL

from llamacli.cli.framework.spellings.suggest import option_names
from llamacli.cli.framework.spellings.synonyms import SYNONYMS, own_name
from llamacli.cli.program import FOREIGN_COMMANDS
from llamacli.cli.run.command import run
from llamacli.store.files import paths


@pytest.mark.parametrize(
    ("arguments", "model", "messages"),
    [
        (["-p", "why?"], "demo.gguf", ["why?"]),
        (["--prompt=-why"], "demo.gguf", ["-why"]),
        (["-hf", "u/r", "why?"], "hf:u/r", ["why?"]),
        (["-hf", "u/r:Q8_0", "-p", "why?", "-no-cnv", "-st"], "hf:u/r:Q8_0", ["why?"]),
        (["-hf", "u/r:Q8_0", "--hf-file", "x.gguf", "why?"], "hf:u/r:x.gguf", ["why?"]),
        (["--hf-repo=u/r", "why?"], "hf:u/r", ["why?"]),
        (["-mu", "https://x/y.gguf", "why?"], "https:/x/y.gguf", ["why?"]),
        (["--system", "S", "why?"], "demo.gguf", ["S", "why?"]),
        (["--jinja", "why?"], "demo.gguf", ["why?"]),
        (["-sysf", "system.txt", "why?"], "demo.gguf", ["From a file", "why?"]),
        (["-sys", "-p", "why?"], "demo.gguf", ["-p", "why?"]),  # a value is no option
        (["--", "-p"], "demo.gguf", ["-p"]),
    ],
)
def test_options_of_llama_cpp_and_llm_work(arguments, model, messages, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "system.txt").write_text("From a file\n")
    result = invoke("run", *arguments)
    assert result.status == 0, result.stderr
    assert str(result.engine.path) == model
    assert [message["content"] for message in result.engine.messages] == messages


def test_options_of_llm_become_ours(tmp_path) -> None:
    arguments = ["-o", "temperature", "0.25", "-o", "max_tokens", "3", "-o", "top_k", "7", "--reverse-prompt", "END", "why?"]
    params = invoke("run", *arguments).engine.params
    assert (params.sampling.temperature, params.max_tokens, params.sampling.top_k, params.stop) == (0.25, 3, 7, ("END",))
    assert "integer" in invoke("run", "--schema", '{"type": "integer"}', "-n", "1", "x").engine.constraint.grammar
    (tmp_path / "s.json").write_text('{"type": "integer"}')
    assert "integer" in invoke("run", "--schema", str(tmp_path / "s.json"), "x").engine.constraint.grammar
    assert "integer" in invoke("run", "--guided-json", '{"type": "integer"}', "x").engine.constraint.grammar


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (["--max-tokens", "20"], lambda engine: engine.params.max_tokens == 20),
        (["--max_new_tokens=20"], lambda engine: engine.params.max_tokens == 20),
        (["--num_predict", "-1"], lambda engine: engine.params.max_tokens is None),
        (["--num-ctx", "512"], lambda engine: engine.context.n_ctx == 512),
        (["--max-model-len", "512"], lambda engine: engine.context.n_ctx == 512),
        (["--ctx", "512"], lambda engine: engine.context.n_ctx == 512),
        (["--system-message", "S"], lambda engine: engine.messages[0]["content"] == "S"),
        (["--stop-sequence", "END", "--stop_words", "FIN"], lambda engine: engine.params.stop == ("END", "FIN")),
        (["--repetition_penalty", "1.5"], lambda engine: engine.params.sampling.repeat_penalty == 1.5),
        (["--top_k", "7", "--min_p=0.1"], lambda engine: engine.params.sampling.top_k == 7),
        (["--random-seed", "4"], lambda engine: engine.params.sampling.seed == 4),
        (["--num_gpu", "3", "--n_threads", "2"], lambda engine: (engine.model.gpu_layers, engine.context.threads) == (3, 2)),
        (["--model-name", "m.gguf"], lambda engine: engine.path.name == "m.gguf"),
        (["--guided-regex", "[0-9]+"], lambda engine: engine.constraint is not None),
        (["--draft-model", "d.gguf"], lambda engine: engine.model.draft_model == "d.gguf"),
        (["--spec-draft-model=d.gguf"], lambda engine: engine.model.draft_model == "d.gguf"),
        (["-hfd", "u/r:Q4_0"], lambda engine: engine.model.draft_model == "hf:u/r:Q4_0"),
        (["--spec-type", "draft-mtp"], lambda engine: engine.model.mtp),
        (["--spec-type", "ngram-mod,draft-simple", "-md", "d.gguf"], lambda engine: engine.model.draft_model == "d.gguf"),
        (["--spec-type=none"], lambda engine: engine.params.draft == 0),
        (["-md", "d.gguf", "-ngld", "3"], lambda engine: engine.model.draft_gpu_layers == 3),
        (
            ["-md", "d.gguf", "--draft-max", "4", "--spec-draft-p-min", "0.5"],
            lambda e: (e.params.draft, e.params.draft_p_min) == (4, 0.5),
        ),
        (["-o", "num_predict", "20", "-o", "num_ctx", "512"], lambda engine: engine.params.max_tokens == 20),
    ],
)
def test_names_of_other_programs_and_apis_work(arguments, read) -> None:
    result = invoke("run", *arguments, "why?")
    assert result.status == 0, result.stderr
    assert read(result.engine)


@pytest.mark.parametrize("name", ["--api-base", "--base-url", "--base_url", "--server-url"])
@pytest.mark.parametrize("command", ["run", "chat", "embed", "bench"])
def test_addresses_of_servers_have_many_names(name, command) -> None:
    result = invoke(command, name, "no address", *(("x",) if command != "bench" else ()), terminals=TERMINAL)
    assert result.status == 2
    assert "the address of the server must be a host and a path only" in result.stderr


def test_every_synonym_is_an_option_of_run_and_no_name_is_taken_from_an_option() -> None:
    options = option_names(run)
    for own, names in SYNONYMS.items():
        assert own[0] in options
        assert all(options[own_name(f"--{name}", options)] is options[own[0]] for name in names)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "-cnv", "x"], "no such option: -cnv (llamacli chat is a conversation)"),
        (["run", "--hf-file", "x.gguf", "x"], "write -m hf:USER/REPO:FILE"),
        (["embed", "--max-tokens", "3", "x"], "no such option: --max-tokens (llamacli run has it as --predict)"),
        (["tokenize", "--temperature", "0", "x"], "llamacli run has it as --temp"),
        (["bench", "--num-ctx", "512"], "llamacli run has it as --ctx-size"),
        (["run", "--max-tokens", "many", "x"], "'many' is not"),
        (["run", "--max-tokens"], "requires an argument"),
        (["run", "--api-key", "secret", "x"], "write --key env:NAME"),
        (["config", "get", "--api-key", "secret", "x"], "for llamacli run, write --key env:NAME"),
        (["run", "--host", "here", "x"], "write --url http://HOST:PORT"),
        (["run", "--n", "2", "x"], "write --samples N"),
        (["run", "--stream", "x"], "--stream-json streams JSON"),
        (["run", "-e", "x"], "in bash and zsh, $'a\\nb' has two lines"),
        (["run", "--draft-min", "2", "x"], "--draft N is the most, and --draft-p-min P ends them earlier"),
        (["run", "-cd", "512", "x"], "no such option: -cd (the draft model has the context of -c)"),
        (["run", "--spec-draft-type-k", "f16", "x"], "the draft model has the cache types of -ctk and -ctv"),
        (["run", "--threads-batch-draft=2", "x"], "the draft model has the threads of -t and -tb"),
        (["info", "-md", "d.gguf"], "-md needs --fit"),
        (["run", "--spec-type", "draft-dflash", "x"], "there are no such drafts here (-md MODEL drafts with a smaller model"),
        (["run", "--mtp", "-md", "d.gguf", "x"], "--mtp cannot be used with -md"),
        (["info", "--mtp", "d.gguf"], "--mtp needs --fit"),
        (["run", "--mtp", "--draft-p-min", "2", "x"], "--draft-p-min must be from 0 to 1"),
        (["run", "--think", "x"], "write --reasoning auto|on|off"),
        (["run", "-a", "missing.txt", "x"], "missing.txt does not exist"),
        (["grammar", "check", "--jinja", "x"], "no such option: --jinja"),
        (["run", "-o", "colour", "red", "x"], "-o colour: no such option"),
        (["run", "-o", "colour"], "-o needs a name and a value"),
        (["run", "-p"], "-p needs a value"),
        (["run", "-p", "a", "-p", "b"], "-p is given twice"),
        (["run", "-t", "summarize", "x"], "-T selects a template"),
        (["run", "demo", "why?"], "unexpected argument: why? (-m demo selects the model)"),
        (["run", "--at", "x", "-f", "y"], "'x' is not LINE:COL"),
        (["run", "why", "not?"], "put text of several words in quotes"),
    ],
)
def test_what_cannot_work_says_the_line_that_does(arguments, says) -> None:
    result = invoke(*arguments)
    assert result.status == 2
    assert says in result.stderr


@pytest.mark.parametrize("verb", sorted(FOREIGN_COMMANDS))
def test_verbs_of_others_say_the_line(verb) -> None:
    result = invoke(verb)
    assert result.status == 2
    assert f"no such command: {verb} (llamacli " in result.stderr


@pytest.mark.parametrize(
    ("prompt", "noticed"),
    [("demo", True), ("gem", True), ("hf:u/r", True), ("m.gguf", True), ("why", False), ("a demo", False)],
)
def test_a_model_given_as_the_prompt_is_noticed(prompt, noticed) -> None:
    settings = paths.settings_file()
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('[aliases]\ngem = "hf:u/gemma"\n')
    result = invoke("run", prompt)
    assert result.status == 0
    assert (f"warning: {prompt} is the name of a model" in result.stderr) == noticed


@pytest.mark.parametrize(
    ("variable", "value", "field", "wanted"),
    [
        ("LLAMACLI_PREDICT", "2", "max_tokens", 2),
        ("LLAMACLI_N_PREDICT", "2", "max_tokens", 2),
        ("LLAMACLI_TEMPERATURE", "0.5", "temperature", 0.5),
        ("LLAMACLI_TOP_NSIGMA", "2", "top_n_sigma", 2.0),
        ("LLAMACLI_N_GPU_LAYERS", "3", "gpu_layers", 3),
    ],
)
def test_variables_follow_every_spelling(variable, value, field, wanted, monkeypatch) -> None:
    monkeypatch.setenv(variable, value)
    result = invoke("run", "x", environ={variable: value})
    engine = result.engine
    assert wanted in [getattr(one, field, None) for one in (engine.params, engine.params.sampling, engine.model)]
    assert f"  {variable}\n" in invoke("config", "show", "--origin", environ={variable: value}).stdout
    assert result.stderr == ""
    monkeypatch.setenv(variable, "many")
    assert f"{variable}: 'many' is not" in invoke("run", "x", environ={variable: "many"}).stderr


def test_the_first_spelling_counts(monkeypatch) -> None:
    monkeypatch.setenv("LLAMACLI_N_PREDICT", "2")
    monkeypatch.setenv("LLAMACLI_PREDICT", "3")
    assert invoke("run", "x").engine.params.max_tokens == 3


def test_unknown_variables_are_warned_about_once() -> None:
    environ = {"LLAMACLI_TEMPP": "1", "LLAMACLI_ANSWER_OF_MINE": "", "LLAMACLI_DATA_DIR": "/tmp", "LLAMACLI_CTX_SIZE": "64"}
    stderr = invoke("run", "x", environ=environ).stderr
    assert stderr.splitlines() == [
        "llamacli: warning: LLAMACLI_ANSWER_OF_MINE sets nothing",
        "llamacli: warning: LLAMACLI_TEMPP sets nothing (did you mean LLAMACLI_TEMP?)",
    ]
