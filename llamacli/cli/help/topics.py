"""The guides: their names, what they are about, and where their text is. They are also man pages of section 7."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "guides"


@dataclass(frozen=True, slots=True)
class Topic:
    """A guide. `commands` and `guides` are the related ones, by name."""

    name: str
    summary: str
    commands: tuple[str, ...] = ()
    guides: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """The name of the man page."""
        return f"llamacli-{self.name}"

    def read(self) -> str:
        """The text of the guide, in Markdown."""
        return (FOLDER / f"{self.name}.md").read_text(encoding="utf-8")


TOPICS: tuple[Topic, ...] = (
    Topic("pipelines", "Answers in shell pipelines, with examples to copy", ("run", "log", "embed", "tokenize", "grammar"),
          ("grammars", "embeddings", "exit-statuses")),
    Topic("documents", "PDF, Word, web pages and folders as text", ("run", "chat", "embed"),
          ("images", "pipelines", "embeddings")),
    Topic("images", "Images and sound in prompts, and projectors", ("run", "chat", "serve", "info"), ("documents", "models")),
    Topic("templates", "Prompts with variables and options",
          ("templates", "run", "chat"), ("pipelines", "settings")),
    Topic("shell", "Commands for a task: proposed, reviewed, run", ("do",), ("pipelines", "settings")),
    Topic("chat", "Conversations, sessions and tools", ("chat",), ("settings", "models")),
    Topic("embeddings", "Vectors, search by meaning, reranking, answers from files",
          ("embed", "embed-index", "run", "chat"), ("documents", "pipelines", "models")),
    Topic("serving", "Models over HTTP, for clients of OpenAI and Anthropic", ("serve", "serve-key"), ("settings", "models")),
    Topic("remote", "The models of other machines, behind an address", ("run", "chat", "embed"), ("serving", "settings")),
    Topic("cluster", "Rows over many machines: shards, Slurm, servers", ("run", "embed", "serve"), ("remote", "pipelines")),
    Topic("grammars", "Answers in a given form: schemas, grammars, choices", ("grammar", "run"), ("pipelines",)),
    Topic("inspection", "Model files and tokens, without loading a model", ("info", "tokenize"), ("models", "troubleshooting")),
    Topic("benchmarks", "How fast models run, and which of two is faster",
          ("bench", "bench-compare", "bench-tune", "bench-roofline"), ("quality", "settings", "exit-statuses")),
    Topic("quality", "What a quantization costs", ("bench-quality",), ("benchmarks", "models")),
    Topic("models", "What a model can be called, and where it is stored", ("models", "info"), ("settings", "inspection")),
    Topic("settings", "Defaults, profiles, aliases and environment variables", ("config",), ("models",)),
    Topic("exit-statuses", "Exit statuses and messages", ("run",), ("pipelines", "troubleshooting")),
    Topic("python", "The Python API", (), ("grammars", "embeddings")),
    Topic("building", "Installing, GPUs, builds that fail, completion", (), ("troubleshooting",)),
    Topic("troubleshooting", "A model that does not load, does not fit or is slow", ("info", "run"),
          ("building", "exit-statuses")),
)  # fmt: skip
"""Every guide, in the order in which `llamacli help` lists them."""


def find_topic(name: str) -> Topic | None:
    """The guide of that name, which may be the name of its man page."""
    wanted = name.removeprefix("llamacli-")
    return next((topic for topic in TOPICS if topic.name == wanted), None)
