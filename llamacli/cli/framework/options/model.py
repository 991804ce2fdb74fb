"""The model, and the parameters that it is loaded with."""

from typing import Annotated, ClassVar

from llamacli.backend.child.params import ChildParams, SandboxMode
from llamacli.cli.framework import parsers
from llamacli.cli.framework.options.common import OfflineOption
from llamacli.cli.framework.parameters import option
from llamacli.engine.params import Kernels, LoraAdapter, ModelParams, SplitMode
from llamacli.values import dataclass

_MODEL = ModelParams()
_CHILD = ChildParams()

ModelOption = Annotated[
    str | None,
    option(
        "-m", "--model", metavar="MODEL", shows="the demo model",
        loads=False, help="A GGUF file, hf:user/repo[:quant], an https:// address, or a name from `llamacli models list`.",
    ),
]  # fmt: skip

SandboxOption = Annotated[
    SandboxMode,
    option("--sandbox", loads=False, help="Confinement of the engine's process: what the system has, required, or none."),
]

EngineTimeoutOption = Annotated[
    float,
    option(
        "--engine-timeout", metavar="SECONDS", sets="patience", loads=False,
        help="Seconds without progress after which the engine is ended.",
    ),
]  # fmt: skip


RpcOption = Annotated[
    tuple[str, ...],
    option(
        "--rpc", metavar="HOST:PORT,…", parser=parsers.parse_names,
        help="Comma-separated RPC nodes (`llamacli serve --rpc-node`), whose devices hold layers, too.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """The model, and the parameters that it is loaded with."""

    PANEL: ClassVar[str] = "Model"
    LOADS: ClassVar[bool] = True

    model: ModelOption = None
    offline: OfflineOption = False
    lora: Annotated[
        tuple[LoraAdapter, ...],
        option(
            "--lora", metavar="PATH[:SCALE]", parser=parsers.parse_lora, sets="loras", help="LoRA adapter; can be repeated."
        ),
    ] = _MODEL.loras
    gpu_layers: Annotated[
        int | None,
        option(
            "-ngl", "--gpu-layers", "--n-gpu-layers", metavar="auto|all|N", parser=parsers.parse_gpu_layers, shows="auto",
            help="Number of layers on the GPU; auto fits as many as possible.",
        ),
    ] = _MODEL.gpu_layers  # fmt: skip
    device: Annotated[
        tuple[str, ...],
        option(
            "-dev", "--device", metavar="NAMES", parser=parsers.parse_names, sets="devices",
            help="Comma-separated devices to use; `none` is the CPU only.",
        ),
    ] = _MODEL.devices  # fmt: skip
    split_mode: Annotated[SplitMode, option("-sm", "--split-mode", help="How to split the model over several GPUs.")] = (
        _MODEL.split_mode
    )
    tensor_split: Annotated[
        tuple[float, ...],
        option(
            "-ts", "--tensor-split", metavar="N,N", parser=parsers.parse_numbers,
            help="Comma-separated share of the model for each GPU, for example 3,1.",
        ),
    ] = _MODEL.tensor_split  # fmt: skip
    main_gpu: Annotated[int, option("-mg", "--main-gpu", shows=0, help="Index of the GPU that -sm none uses.")] = (
        _MODEL.main_gpu
    )
    rpc: RpcOption = _MODEL.rpc
    mmap: Annotated[bool, option("--mmap/--no-mmap", help="Memory-map the model file.")] = _MODEL.mmap
    mlock: Annotated[bool, option("--mlock", help="Lock the model in RAM, so that it is never swapped out.")] = _MODEL.mlock
    repack: Annotated[
        bool, option("--repack/--no-repack", help="Rearrange weights for the widest instructions of this CPU.")
    ] = _MODEL.repack
    kernels: Annotated[
        Kernels, option("--kernels", help="What computes on the CPU: our kernels where there are any, or llama.cpp's.")
    ] = _MODEL.kernels
    check_tensors: Annotated[bool, option("--check-tensors", help="Check the model's tensors for invalid values.")] = (
        _MODEL.check_tensors
    )
    sandbox: SandboxOption = _CHILD.sandbox
    engine_timeout: EngineTimeoutOption = _CHILD.patience

    def child(self) -> ChildParams:
        """The parameters of the engine's process."""
        return ChildParams(sandbox=self.sandbox, patience=self.engine_timeout, rpc=self.rpc)

    def params(self) -> ModelParams:
        """The engine's parameters."""
        return ModelParams(
            gpu_layers=self.gpu_layers,
            split_mode=self.split_mode,
            main_gpu=self.main_gpu,
            tensor_split=self.tensor_split,
            devices=self.device,
            rpc=self.rpc,
            mmap=self.mmap,
            mlock=self.mlock,
            repack=self.repack,
            kernels=self.kernels,
            check_tensors=self.check_tensors,
            loras=self.lora,
        )
