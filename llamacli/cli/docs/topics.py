"""Sections of the man pages (section 1) beside the options: exit statuses, variables, files, and what all commands share."""

from __future__ import annotations

EXIT_STATUS = (
    (0, "Success."),
    (1, "Another failure, such as a full disk."),
    (2, "The command line or the settings are wrong."),
    (3, "The model is missing, unreadable, corrupt or unsupported, or could not be fetched; a picture or sound is damaged."),
    (4, "The prompt does not fit the context, or the model does not fit memory."),
    (5, "A grammar or schema is invalid, or the answer does not satisfy it."),
    (6, "Some rows of a batch failed."),
    (7, "The engine failed, or its process died."),
    (8, "A requested limit or check was not met, or `--max-tool-calls` was reached."),
    (130, "Interrupted (Ctrl-C)."),
    (141, "The reader of standard output closed the pipe, as in `llamacli ... | head -1`."),
    (143, "Terminated by SIGTERM."),
)

MODELS = """A model is one of these:

  model.gguf, ~/m/model.gguf    a file
  hf:user/repo                  the Hugging Face hub, what fits
  hf:user/repo:Q4_K_M           a quantization, or a file
  https://host/model.gguf       an address
  ollama:name, lmstudio:name    a model of these programs
  demo, all-minilm-l6-v2        a name from the catalogue
  qwen                          an alias from the settings

Without -m the model is the one in LLAMACLI_MODEL, then the one in the settings, then the demo model. Models are fetched
on first use, and `llamacli models` manages them. With --offline or HF_HUB_OFFLINE=1 nothing is fetched."""

SETTINGS = """Options take their defaults from the settings file, which is written in TOML:

  [defaults]
  model = "qwen"
  temp = 0.7

  [aliases]
  qwen = "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"

  [models.qwen]
  ctx-size = 16384

  [profiles.careful]
  temp = 0

The first of these that sets an option counts: the command line, the environment, the project's file (.llamacli.toml, in
this directory or the nearest one above), the user's file, the recommendations in the model's metadata, the built-in
default. Within a file the profile chosen by --profile comes first, then the table of the model, then the defaults.
`llamacli config show --origin` shows where each value comes from."""

OUTPUT = """Standard output carries the answer and nothing else. Progress, statistics, thinking and warnings go to standard
error. Colour is used only on a terminal, where control characters are replaced by visible marks. Piped text is the
material, the argument is the instruction; - is standard input. An error is one line that says what to do; --debug adds
the traceback."""

ENVIRONMENT = (
    ("LLAMACLI_...", "Most options: the long name in capitals, with _ for -. LLAMACLI_CTX_SIZE=8192 is --ctx-size 8192.", None),
    ("LLAMACLI_MODEL", "The default model.", "--model"),
    ("LLAMACLI_CONFIG", "The user's settings file.", "--profile"),
    ("LLAMACLI_DATA_DIR, LLAMACLI_CACHE_DIR", "The folders for models and other data, and for the cache.", "--offline"),
    ("LLAMACLI_PAGER, PAGER", "The pager of `llamacli help`; the default is `less -R`, empty turns paging off.", None),
    ("LLAMA_CACHE, HF_HUB_CACHE, HF_HOME", "The folder for models of the hub; the first that is set counts.", "--offline"),
    ("HF_TOKEN", "The token for gated and private repositories of the Hugging Face hub.", "--offline"),
    ("HF_ENDPOINT", "A mirror of the hub.", "--offline"),
    ("HF_HUB_OFFLINE", "1 disables fetching, as --offline does.", "--offline"),
    ("OLLAMA_MODELS", "The folder in which ollama keeps its models.", "--model"),
    ("NO_COLOR, FORCE_COLOR", "Turn colours off or on, unless --color is given.", "--color"),
    ("VISUAL, EDITOR", "The editor of `llamacli config edit`.", None),
)
"""Variables, their meaning, and the option that a command has if they matter to it; None: only in the program's page."""

FILES = (
    ("~/.config/llamacli/config.toml", "The user's settings."),
    (".llamacli.toml", "A project's settings, in the current directory or the nearest one above."),
    ("~/.local/share/llamacli/models", "Fetched models."),
    ("~/.local/share/llamacli/bench", "The history of benchmarks, readable by the user only."),
    ("~/.cache/huggingface/hub", "Models of the Hugging Face hub, shared with other programs."),
)
