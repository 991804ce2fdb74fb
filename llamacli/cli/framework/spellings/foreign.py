"""Spellings of llama.cpp's programs, llm and ollama: they are put into ours, or the error says the line that does it.

Those that are only other names of our options are in `synonyms`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path

from llamacli.cli.framework.inputs.files import read_text_file
from llamacli.cli.framework.spellings.synonyms import option_of_run, own_name
from llamacli.errors import UsageError
from llamacli.values import dataclass


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Words in place of an option and its value. `flag` is the option of ours that a command must have for it."""

    flag: str
    words: Callable[[str], list[str]]


def _as(flag: str, prefix: str = "") -> Rewrite:
    return Rewrite(flag, lambda value: [flag, prefix + value])


def _schema(value: str) -> list[str]:
    return ["-j", value] if value.lstrip().startswith("{") else ["-jf", value]


_SPECULATION = {
    "none": ["--draft", "off"], "draft-simple": [], "draft-eagle3": [], "draft-mtp": ["--mtp"], "mtp": ["--mtp"],
}  # fmt: skip
"""llama.cpp's kinds of drafts in our options. The file of -md says what it is."""


def _speculation(value: str) -> list[str]:
    """Return our options for llama.cpp's kinds of drafts."""
    kinds = value.split(",")
    for kind in kinds:
        if kind.startswith("ngram"):
            continue  # text that repeats itself is drafted anyhow
        if kind not in _SPECULATION:
            raise UsageError(
                f"--spec-type {kind}: there are no such drafts here",
                hint="-md MODEL drafts with a smaller model or an EAGLE-3 head, --mtp with the model's own layers",
            )
    return [word for kind in kinds for word in _SPECULATION.get(kind, [])]


_WITH_VALUE = {
    "-hf": _as("-m", "hf:"), "-hfr": _as("-m", "hf:"), "--hf-repo": _as("-m", "hf:"),
    "-mu": _as("-m"),
    "-sysf": Rewrite("-sys", lambda value: ["-sys", read_text_file(Path(value)).rstrip("\n")]),
    "--system-prompt-file": Rewrite("-sys", lambda value: ["-sys", read_text_file(Path(value)).rstrip("\n")]),
    "--schema": Rewrite("-j", _schema), "--guided-json": Rewrite("-j", _schema),
    "-np": _as("--parallel"), "-mm": _as("--mmproj"),
    "--spec-type": Rewrite("--mtp", _speculation),
    "-hfd": _as("-md", "hf:"), "-hfrd": _as("-md", "hf:"), "--hf-repo-draft": _as("-md", "hf:"),
    "--spec-draft-hf": _as("-md", "hf:"),
    "-a": _as("-f"), "--attachment": _as("-f"),
}  # fmt: skip
"""Options with a value that commands of ours have in another form, or under a short name."""

_WITHOUT_VALUE: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(
        ("-st", "--single-turn", "-no-cnv", "--no-conversation", "--no-display-prompt", "--simple-io", "--log-disable"),
        ("--infill", ()),
    ),
    "--verbose-prompt": ("--infill", ("--dry-run",)),
    "--jinja": ("--chat-template", ()),
}
"""Switches, each with an option that marks the commands that take it, and what to write instead: mostly nothing."""

_PROMPT = ("-p", "--prompt")
_HF_FILE = ("-hff", "--hf-file")

_DRAFT_LINES = {
    "drafts are as long as pays; --draft N is the most, and --draft-p-min P ends them earlier":
        ("--draft-min", "--draft-n-min", "--spec-draft-n-min"),
    "the draft model has the context of -c": ("-cd", "--ctx-size-draft"),
    "the draft model uses the devices of -dev": ("-devd", "--device-draft", "--spec-draft-device"),
    "the draft model has the cache types of -ctk and -ctv": (
        "-ctkd", "--cache-type-k-draft", "--spec-draft-type-k", "-ctvd", "--cache-type-v-draft", "--spec-draft-type-v",
    ),
    "the draft model has the threads of -t and -tb": (
        "--threads-draft", "--spec-draft-threads", "-tbd", "--threads-batch-draft", "--spec-draft-threads-batch",
    ),
}  # fmt: skip

_LINES = {name: line for line, names in _DRAFT_LINES.items() for name in names} | {
    "-cnv": "llamacli chat is a conversation", "--conversation": "llamacli chat is a conversation",
    "-i": "llamacli chat is a conversation", "--interactive": "llamacli chat is a conversation",
    "-hff": "write -m hf:USER/REPO:FILE", "--hf-file": "write -m hf:USER/REPO:FILE",
    "--no-stream": "output into a file or a pipe is the same with and without streaming",
    "--stream": "text is streamed anyhow, and --stream-json streams JSON",
    "-co": "write --color always", "-td": "write llamacli run --tools FILE --run-tools",
    "--format": "write -j SCHEMA, or --grammar-file json",
    "--response-format": "write -j SCHEMA, or --grammar-file json", "--json-mode": "write --grammar-file json",
    "--n": "write --samples N for several answers, or -n N for the length of one",
    "--api-key": "write --key env:NAME, which takes it from the environment", "--host": "write --url http://HOST:PORT",
    "-e": "text is taken as it is; in bash and zsh, $'a\\nb' has two lines",
    "--escape": "text is taken as it is; in bash and zsh, $'a\\nb' has two lines",
    "--think": "write --reasoning auto|on|off",
    "--cid": "write llamacli chat --session NAME", "--conversation-id": "write llamacli chat --session NAME",
}  # fmt: skip
"""Options that work otherwise here: what to write."""


def adopt(arguments: list[str], names: Collection[str], takes_value: Collection[str]) -> list[str]:
    """Return a command line with foreign options in our words. `names` are the options of the command.

    `takes_value` are those with a value, which is not read as an option.

    Raises:
        UsageError: if one cannot be; the hint says the line that can.
    """
    found: list[str] = []
    prompts: list[str] = []
    rest = list(arguments)
    repository: int | None = None
    while rest:
        name, equals, attached = rest.pop(0).partition("=")
        name = own_name(name, names)
        word = f"{name}{equals}{attached}"
        if word == "--":
            rest, found = [], [*found, word, *rest]
        elif word in takes_value:
            found += [word, *rest[:1]]
            del rest[:1]
        elif name in names or not name.startswith("-") or word == "-":
            found.append(word)
        elif name in _WITHOUT_VALUE and _WITHOUT_VALUE[name][0] in names:
            found += _WITHOUT_VALUE[name][1]
        elif name == "-o" and "--temp" in names:
            found += _llm_option(_values(name, rest, 2), names)
        elif name in _HF_FILE and repository is not None:
            value = attached if equals else _values(name, rest, 1)[0]
            found[repository] = f"{':'.join(found[repository].split(':')[:2])}:{value}"
        elif (name in _WITH_VALUE and _WITH_VALUE[name].flag in names) or (name in _PROMPT and "-sys" in names):
            value = attached if equals else _values(name, rest, 1)[0]
            if name in _PROMPT:
                prompts.append(value)
                continue
            found += _WITH_VALUE[name].words(value)
            if found and found[-1].startswith("hf:"):
                repository = len(found) - 1
        else:
            _check(name, names)
            found.append(word)
    if len(prompts) > 1:
        raise UsageError("-p is given twice", hint="there is one prompt; -f FILE adds texts")
    return _with_prompt(found, prompts)


def _check(name: str, names: Collection[str]) -> None:
    """Raise UsageError for an option that works otherwise here, or in another command."""
    own, hint = option_of_run(name), _LINES.get(name)
    if own is not None:
        hint = f"llamacli run has it as {own}"
    elif hint is not None and (flag := re.match(r"write (-\S+)", hint)) is not None and flag[1] not in names:
        hint = f"for llamacli run, {hint}"
    if hint is not None:
        raise UsageError(f"no such option: {name}", hint=hint)


def _with_prompt(words: list[str], prompts: list[str]) -> list[str]:
    """The words with the prompt of `-p` as the argument, which may begin with a dash."""
    if not prompts:
        return words
    return [*words, *prompts] if "--" in words else [*words, "--", *prompts]


def _values(name: str, rest: list[str], count: int) -> list[str]:
    if len(rest) < count:
        raise UsageError(f"{name} needs {'a value' if count == 1 else 'a name and a value'}")
    values = rest[:count]
    del rest[:count]
    return values


def _llm_option(pair: list[str], names: Collection[str]) -> list[str]:
    """Llm's `-o name value` as an option of ours."""
    name, value = pair
    flag = own_name(f"--{name}", names)
    if flag not in names:
        raise UsageError(f"-o {name}: no such option", hint=f"options are written {flag} VALUE; --help-all lists them")
    return [flag, value]
