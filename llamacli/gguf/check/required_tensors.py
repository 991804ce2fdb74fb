"""The tensors that an architecture cannot do without, norms and attention, and their sizes that are an embedding's.

Source: the tensors that `load_arch_tensors` in llama.cpp's `src/models/` creates without a condition, at commit 0c1e57098; what
depends on experts, adapters or kinds of layers is left out, and so are architectures with layers of several kinds.
"""

from __future__ import annotations

from collections.abc import Iterator

from llamacli.gguf.check.finding import Finding
from llamacli.gguf.header import Header, TensorInfo
from llamacli.gguf.layout import MAX_LAYERS
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.text import printable

_TABLE = """
afmoe gemma3
  output_norm / attn_k attn_k_norm attn_norm attn_output attn_q attn_q_norm attn_v ffn_norm post_attention_norm
  post_ffw_norm
apertus dots1 exaone-moe llada-moe maple mellum
  output output_norm / attn_k attn_k_norm attn_norm attn_output attn_q attn_q_norm attn_v ffn_norm
arcee arctic chatglm deepseek dream ernie4_5 ernie4_5-moe eurobert exaone gemma granite granite_swa granitemoe jais2 llada
llama llama-embed minicpm mistral3 qwen2 qwen2vl refact smollm3
  output_norm / attn_k attn_norm attn_output attn_q attn_v ffn_norm
baichuan bailingmoe codeshell internlm2 qwen2moe
  output output_norm / attn_k attn_norm attn_output attn_q attn_v ffn_norm
bailingmoe2
  output output_norm / attn_k_norm attn_norm attn_output attn_q_norm attn_qkv ffn_norm
bert
  position_embd token_embd_norm / attn_k attn_output attn_output_norm attn_q attn_v layer_output_norm
bitnet
  output_norm / attn_k attn_norm attn_output attn_q attn_sub_norm attn_v ffn_norm ffn_sub_norm
bloom
  output_norm token_embd_norm / attn_norm attn_output attn_qkv ffn_norm
chameleon grovemoe hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 maincoder qwen3 qwen3moe qwen3tts qwen3vl qwen3vlmoe rnd1
  output_norm / attn_k attn_k_norm attn_norm attn_output attn_q attn_q_norm attn_v ffn_norm
cogvlm
  output_norm / attn_norm attn_output attn_qkv ffn_norm
cohere2 cohere2moe command-r
  output_norm / attn_k attn_norm attn_output attn_q attn_v
dbrx
  output output_norm / attn_norm attn_output attn_output_norm attn_qkv
exaone4
  output_norm / attn_k attn_k_norm attn_output attn_q attn_q_norm attn_v post_attention_norm post_ffw_norm
falcon
  output_norm / attn_norm attn_output attn_qkv
gemma2
  output_norm / attn_k attn_norm attn_output attn_q attn_v ffn_norm post_attention_norm post_ffw_norm
glm4moe seed_oss
  output_norm / attn_k attn_norm attn_output attn_q attn_v post_attention_norm
gpt-oss
  output output_norm / attn_k attn_norm attn_output attn_q attn_v post_attention_norm
gpt2
  output_norm position_embd / attn_norm attn_output attn_qkv ffn_norm
gptneox jais qwen
  output output_norm / attn_norm attn_output attn_qkv ffn_norm
grok
  output_norm / attn_k attn_norm attn_output attn_output_norm attn_q attn_v ffn_norm
jina-bert-v3
  token_embd_norm / attn_k attn_output attn_output_norm attn_q attn_v layer_output_norm
muse-glimmer
  output output_norm / attn_k attn_k_norm attn_norm attn_output attn_q attn_q_norm attn_v ffn_norm post_attention_norm
  post_ffw_norm
"""
"""Architectures, and under them the names of their weights: those of the model, a slash, those of each layer."""

_FUSED = frozenset(("attn_q", "attn_k", "attn_v"))
"""Weights of a layer that `attn_qkv` may replace."""

_OF_WIDTH = frozenset((
    "attn_norm", "ffn_norm", "output_norm", "post_attention_norm", "post_ffw_norm", "attn_output_norm", "layer_output_norm",
))  # fmt: skip
_FROM_WIDTH = frozenset(("attn_q", "attn_k", "attn_v", "attn_qkv", "ffn_up", "ffn_gate"))
_TO_WIDTH = frozenset(("attn_output", "ffn_down"))


def _parse(table: str) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    architectures: list[str] = []
    names: list[str] = []
    for line in [*table.strip().splitlines(), ""]:
        if line.startswith(" "):
            names += line.split()
            continue
        if names:
            slash = names.index("/")
            found |= dict.fromkeys(architectures, (tuple(names[:slash]), tuple(names[slash + 1 :])))
            architectures, names = [], []
        architectures += line.split()
    return found


_REQUIRED = _parse(_TABLE)

UNIFORM = frozenset(_REQUIRED)
"""Architectures in the table: all of their layers have attention of one kind."""


def missing_tensor_findings(files: ModelFiles) -> Iterator[Finding]:
    """Yield one finding per missing weight, with the first layer that lacks it."""
    header = files.header
    of_model, of_layer = _REQUIRED.get(header.architecture or "", ((), ()))
    names = {tensor.name for tensor in files.tensors}
    for name in of_model:
        if f"{name}.weight" not in names:
            yield Finding("error", f"tensor {name}.weight", f"missing, but {header.architecture} requires it")
    layers = range(_layer_count(header))
    for name in of_layer:
        absent = [layer for layer in layers if f"blk.{layer}.{name}.weight" not in names]
        if name in _FUSED:
            absent = [layer for layer in absent if f"blk.{layer}.attn_qkv.weight" not in names]
        if absent:
            more = f" in {len(absent)} of {len(layers)} layers" if len(absent) > 1 else ""
            yield Finding("error", f"tensor blk.{absent[0]}.{name}.weight", f"missing{more}")


def width_findings(files: ModelFiles) -> Iterator[Finding]:
    """Yield norms and projections whose input or output is not an embedding, for the architectures of the table."""
    header = files.header
    width = header.integer(f"{header.architecture}.embedding_length")
    if header.architecture not in _REQUIRED or width is None:
        return
    layers = _layer_count(header)
    for tensor in files.tensors:
        layer, name = _split_name(tensor.name)
        if layer is not None and layer >= layers:
            continue
        dimension = 0 if name in _OF_WIDTH or name in _FROM_WIDTH else 1 if name in _TO_WIDTH else None
        if dimension is None:
            continue
        rank = 1 if name in _OF_WIDTH else 2
        shape = [*tensor.shape, *[1] * (rank - len(tensor.shape))]
        if shape[dimension] != width:
            yield _finding(tensor, f"expected {width} (embedding_length) as dimension {dimension}")
        elif len(tensor.shape) < rank or any(size != 1 for size in shape[rank:]):
            yield _finding(tensor, f"expected {rank} dimension{'s' if rank > 1 else ''}")


def _split_name(name: str) -> tuple[int | None, str]:
    """Return the layer of a tensor, or None, and its name there."""
    block, _, rest = name.partition(".")
    number, _, own = rest.partition(".")
    if block == "blk" and number.isdecimal() and len(number) < 7:
        return int(number), own.removesuffix(".weight")
    return None, name.removesuffix(".weight")


def _finding(tensor: TensorInfo, message: str) -> Finding:
    shape = ", ".join(map(str, tensor.shape))
    return Finding("error", f"tensor {printable(tensor.name, 70)}", f"has shape [{shape}], {message}", part=tensor.part)


def _layer_count(header: Header) -> int:
    """Return the number of layers without those that predict further tokens."""
    count = min(header.integer(f"{header.architecture}.block_count") or 0, MAX_LAYERS)
    return max(count - (header.integer(f"{header.architecture}.nextn_predict_layers") or 0), 0)
