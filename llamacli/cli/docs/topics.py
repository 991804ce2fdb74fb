"""What the man pages say beside the options: exit statuses, variables, files, and what holds for all commands."""

from __future__ import annotations

EXIT_STATUS = (
    (0, "Done."),
    (1, "Another failure, such as a full disk."),
    (2, "The command line or the settings are wrong."),
    (3, "The model is missing, unreadable, corrupt or unsupported, or could not be fetched."),
    (4, "It does not fit: into the context, or into memory."),
    (5, "A grammar or schema is invalid, or the answer does not satisfy it."),
    (6, "Some rows of a batch failed."),
    (7, "The engine failed."),
    (8, "A limit or a check that was asked for was not met."),
    (130, "Interrupted (Ctrl-C)."),
    (141, "The reader of the output went away, as in `llamacli ... | head -1`."),
    (143, "Ended by SIGTERM."),
)

MODELS = """A model is one of these:

  model.gguf, ~/m/model.gguf    a file
  hf:user/repo                  the Hugging Face hub; what fits is chosen
  hf:user/repo:Q4_K_M           this quantization, or a file of it
  https://host/model.gguf       an address
  ollama:name, lmstudio:name    what these programs have on this machine
  demo, all-minilm-l6-v2        a name of the catalogue
  qwen                          an alias from the settings

Without -m it is what LLAMACLI_MODEL says, then what the settings say, then the demo model. Models are fetched when they
are first used, and `llamacli models` manages them. With --offline or HF_HUB_OFFLINE=1 nothing is fetched."""

SETTINGS = """Options can have their defaults in the settings file, which is written in TOML:

  [defaults]
  model = "qwen"
  temp = 0.7

  [aliases]
  qwen = "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"

  [models.qwen]
  ctx-size = 16384

  [profiles.careful]
  temp = 0

What is on the command line comes first, then the environment, the project's file (.llamacli.toml, in this directory or
one above), the user's file, what the model's metadata recommends, and what is built in. Within a file a profile, chosen
by --profile, comes before what is said of the model, and that before the defaults. `llamacli config show --origin`
tells where each value came from."""

OUTPUT = """The answer goes to standard output, and nothing else does: progress, statistics, thinking and warnings go to
standard error. There is colour only on a terminal, and only there are control characters made visible. A text that is
piped in is the material, and the argument the instruction; a - is standard input. An error is one line that says what
to do; --debug adds the traceback."""

ENVIRONMENT = (
    ("LLAMACLI_...", "Most options: the long name in capitals, with _ for -. LLAMACLI_CTX_SIZE=8192 is --ctx-size 8192.", None),
    ("LLAMACLI_MODEL", "The model that is used when none is named.", "--model"),
    ("LLAMACLI_CONFIG", "Another settings file of the user.", "--profile"),
    ("LLAMACLI_DATA_DIR, LLAMACLI_CACHE_DIR", "Other folders for models and for what can be made again.", "--offline"),
    ("LLAMA_CACHE, HF_HUB_CACHE, HF_HOME", "Where the hub's models are; the first that is set counts.", "--offline"),
    ("HF_TOKEN", "For gated and private repositories of the Hugging Face hub.", "--offline"),
    ("HF_ENDPOINT", "A mirror of the hub.", "--offline"),
    ("HF_HUB_OFFLINE", "1 forbids any fetch, as --offline does.", "--offline"),
    ("OLLAMA_MODELS", "Where ollama keeps its models.", "--model"),
    ("NO_COLOR, FORCE_COLOR", "Turn colours off or on, where --color says nothing.", "--color"),
    ("VISUAL, EDITOR", "The editor of `llamacli config edit`.", None),
)
"""Variables, what they are for, and the option that a command has if they matter to it; None: in the program's page only."""

FILES = (
    ("~/.config/llamacli/config.toml", "The user's settings."),
    (".llamacli.toml", "A project's settings, in the current directory or the nearest one above."),
    ("~/.local/share/llamacli/models", "Models that were fetched."),
    ("~/.local/share/llamacli/bench", "The history of benchmarks, which only the user may read."),
    ("~/.cache/huggingface/hub", "Models of the Hugging Face hub, shared with other programs."),
)
