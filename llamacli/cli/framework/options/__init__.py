"""Options that several commands have, declared once. Help, man pages, completions and settings derive from these.

Names are llama.cpp's where it has one. Defaults are the engine's; one that depends on the model or the machine is None, and
the help says in brackets what it becomes. A group is a dataclass whose fields are options; `params()` makes the engine's
parameters from it.
"""

from llamacli.cli.framework.options.cluster import DaskOption
from llamacli.cli.framework.options.common import CommonOptions, JsonOption, OfflineOption, show_help
from llamacli.cli.framework.options.context import ContextOptions
from llamacli.cli.framework.options.documents import DocumentOptions, ShowTextOption
from llamacli.cli.framework.options.draft import DraftModelOptions
from llamacli.cli.framework.options.generation import GenerationOptions
from llamacli.cli.framework.options.model import EngineTimeoutOption, ModelOption, ModelOptions, RpcOption, SandboxOption
from llamacli.cli.framework.options.projector import MmprojOption, ProjectorOptions
from llamacli.cli.framework.options.prompt import ChatOptions
from llamacli.cli.framework.options.prompt_cache import PromptCacheOptions
from llamacli.cli.framework.options.remote import RemoteOptions
from llamacli.cli.framework.options.resident import KeepAliveOption, ResidentOptions
from llamacli.cli.framework.options.sampling import SamplingOptions
from llamacli.cli.framework.options.template import TemplateOptions
from llamacli.cli.framework.options.tools import ToolCallOptions

__all__ = [
    "ChatOptions", "CommonOptions", "ContextOptions", "DaskOption", "DocumentOptions", "DraftModelOptions",
    "EngineTimeoutOption", "GenerationOptions", "JsonOption", "KeepAliveOption", "MmprojOption", "ModelOption",
    "ModelOptions", "OfflineOption", "ProjectorOptions", "PromptCacheOptions", "RemoteOptions", "ResidentOptions",
    "RpcOption", "SamplingOptions", "SandboxOption", "ShowTextOption", "TemplateOptions", "ToolCallOptions", "show_help",
]  # fmt: skip
