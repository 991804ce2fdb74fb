"""`llamacli info`: what it prints, as text and as JSON, and how it ends."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_eagle
from fake_hub import running
from fakes import Result, invoke
from in_process import InProcessChild
from tiny import ARRAY, F32, STRING, Tensor, Typed
from tiny_projector import projector_metadata, write_projector

from llamacli.backend.child.sandbox import describe_sandbox
from llamacli.backend.child.services import inspection
from llamacli.binding.library import library
from llamacli.cli.framework.console import Terminals
from llamacli.cli.framework.context import find_model, find_projector
from llamacli.engine.fit import meter as fit_meter
from llamacli.engine.fit import search as fit_search
from llamacli.engine.fit.report import DeviceShare, FitReport
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.gguf.analysis.diff import Difference
from llamacli.gguf.analysis.projector import projector_memory
from llamacli.gguf.model import read_files
from llamacli.gguf.source import FileSource
from llamacli.render.info.numbers import shortest
from llamacli.render.info.reports import format_differences, format_fit

TERMINAL = Terminals(stdin=True, stdout=True, stderr=True)


def info(*arguments: str | Path, **options: Any) -> Result:
    return invoke("info", *map(str, arguments), find_model=find_model, **options)


def page(*arguments: str | Path, **options: Any) -> str:
    result = info(*arguments, **options)
    assert result.status == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def document(*arguments: str | Path) -> Any:
    return json.loads(page(*arguments, "--json"))


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_says_what_the_model_is(tiny_model: Path) -> None:
    lines = page(tiny_model).splitlines()
    assert lines[0] == "Tiny"
    rows = {line[:16].strip(): line[18:] for line in lines[1:]}
    assert rows == {
        "file": f"{tiny_model} (450.9 KiB)",
        "format": "GGUF 3",
        "architecture": "llama",
        "parameters": "113.6 K",
        "quantization": "F32, 32.00 bits per weight (21 F32 tensors)",
        "licence": "apache-2.0",
        "context": "512 tokens",
        "layers": "2",
        "embedding": "64",
        "feed-forward": "128",
        "heads": "4, 2 for keys and values",
        "rope": "base 10,000",
        "vocabulary": "309 tokens, BPE (gpt2, pre-tokenizer smollm), 50 merges",
        "special tokens": "bos 1 <|im_start|>, eos 2 <|im_end|>, padding 0 <|endoftext|>",
        "chat template": "system role (196 characters)",
    }


def test_the_page_of_a_model_with_more_to_tell(tmp_path: Path) -> None:
    change = {
        "general.size_label": "0.1M",
        "general.sampling.temp": 0.6,
        "general.sampling.top_k": 20,
        "llama.expert_count": 8,
        "llama.expert_used_count": 2,
        "llama.attention.sliding_window": 256,
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.original_context_length": 128,
        "llama.pooling_type": 3,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template.tool_use": "{% if tools %}{{ m.role }}<think>{% endif %}",
    }
    shown = page(tiny.tiny_model(tmp_path / "m.gguf", change=change))
    for row in (
        "parameters        113.6 K (0.1M)",
        "context           512 tokens (originally 128, extended by yarn scaling)",
        "experts           8, 2 used per token",
        "sliding window    256 tokens",
        "rope              base 10,000, yarn scaling",
        "pooling           last",
        "added to prompts  bos",
        "  tool_use        system role, tools, reasoning (44 characters)",
        "sampling          temp 0.6, top_k 20 (recommended by the model)",
    ):
        assert row in shown.splitlines()


def test_a_projector_says_what_it_encodes_and_for_which_models(tmp_path: Path) -> None:
    tiny.tiny_model(tmp_path / "Tiny-Q4_0.gguf")
    projector = write_projector(tmp_path / "mmproj-F16.gguf")
    shown = page(projector).splitlines()
    assert "This is an image or audio projector." in shown
    for row in (
        "vision            projector idefics3", "vision image size  32 pixels", "vision patch      8 pixels",
        "fits              models with embeddings of 64 values", "models here       Tiny-Q4_0.gguf",
    ):  # fmt: skip
        assert row in shown
    assert "errors" not in page(projector, "--check")
    write_projector(projector, projector_metadata() | {"clip.projector_type": "mine"})
    result = info(projector, "--check")
    assert (result.status, "is 'mine', a projector that llama.cpp does not know" in result.stdout) == (3, True)


def test_parts_are_one_model(tmp_path: Path) -> None:
    paths = tiny.split_model(tmp_path)
    assert f"file              {paths[0]} (451.3 KiB, 3 parts)" in page(paths[2])
    assert document(paths[1])["parts"] == 3
    paths[1].unlink()
    result = info(paths[0])
    assert result.status == 3
    assert "tiny-00002-of-00003.gguf" in result.stderr


def test_files_that_are_no_models_are_called_what_they_are(tmp_path: Path) -> None:
    adapter = tmp_path / "lora.gguf"
    metadata = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora", "adapter.lora.alpha": 16.0}
    adapter.write_bytes(tiny.gguf_bytes(metadata, [Tensor("blk.0.attn_q.weight.lora_a", (8, 4), b"\0" * 128)]))
    shown = page(adapter)
    assert "This is a LoRA adapter." in shown
    assert "rank              4" in shown
    vocabulary = tmp_path / "v.gguf"
    vocabulary.write_bytes(
        tiny.gguf_bytes({"general.architecture": "llama", **tiny.tokenizer_metadata(tiny.default_vocabulary())})
    )
    assert "This is a vocabulary without weights." in page(vocabulary)


def test_text_from_the_file_cannot_steer_a_terminal(tmp_path: Path) -> None:
    change = {"general.name": "a\x1b[2Jb\nc\u202ed", "e\x1b]0;vil": "x\x07"}
    path = tiny.tiny_model(tmp_path / "m.gguf", change=change)
    for arguments in ([], ["--metadata"], ["--check"]):
        result = info(path, *arguments, terminals=TERMINAL)
        assert "\x1b]" not in result.stdout
        assert "\x1b[2J" not in result.stdout
        assert not set("\x07\u202e") & set(result.stdout)
    assert page(path).splitlines()[0] == r"a\x1b[2Jb\nc\u202ed"
    key = info(path, "--key", "general.name", terminals=TERMINAL)
    assert key.stdout == "a\\x1b[2Jb\nc\\u202ed\n"
    assert page(path, "--key", "general.name") == "a\x1b[2Jb\nc\u202ed\n"


# --- lists and values ------------------------------------------------------------------------------------------------


def test_metadata(tmp_path: Path) -> None:
    change = {"long": "x" * 100, "numbers": Typed(ARRAY, [0.1, 2.5], F32), "yes": True}
    shown = page(tiny.tiny_model(tmp_path / "m.gguf", change=change), "--metadata")
    rows = [line.split(None, 2) for line in shown.splitlines()]
    assert ["general.architecture", "str", "llama"] in rows
    assert ["llama.attention.layer_norm_rms_epsilon", "f32", "1e-05"] in rows
    assert ["long", "str", "x" * 59 + "… (100 characters)"] in rows
    assert ["numbers", "f32[]", "2 elements: 0.1, 2.5"] in rows
    assert ["yes", "bool", "true"] in rows
    tokens = "309 elements: '<|endoftext|>', '<|im_start|>', '<|im_end|>', 'Ā', 'ā', …"
    assert ["tokenizer.ggml.tokens", "str[]", tokens] in rows


def test_tensors_and_their_sums(tiny_model: Path) -> None:
    lines = page(tiny_model, "--tensors").splitlines()
    assert lines[0].split() == ["token_embd.weight", "F32", "64", "x", "309", "77.2", "KiB"]
    assert "F32  21 tensors  113.6 K  443.8 KiB" in lines
    assert "outside layers  3 tensors  154.8 KiB" in lines
    assert "layers 0 to 1   9 tensors  144.5 KiB  each" in lines
    assert lines[-1] == "21 tensors, 113.6 K parameters, 443.8 KiB"


def test_one_key_raw(tmp_path: Path) -> None:
    change = {"raw": Typed(STRING, b"caf\xe9"), "half": 0.1, "list": ["a", "b"], "long": "z" * (2 << 20)}
    path = tiny.tiny_model(tmp_path / "m.gguf", change=change)
    assert info(path, "--key", "raw").stdout_bytes == b"caf\xe9\n"
    assert page(path, "--key", "half") == "0.1\n"
    assert page(path, "--key", "list") == "a\nb\n"
    assert page(path, "--key", "tokenizer.ggml.add_bos_token") == "false\n"
    assert page(path, "--key", "long") == "z" * (2 << 20) + "\n"
    assert len(page(path, "--key", "tokenizer.ggml.tokens").splitlines()) == 309
    assert document(path, "--key", "raw") == {"raw": "caf\ufffd"}
    assert len(document(path, "--key", "tokenizer.ggml.tokens")["tokenizer.ggml.tokens"]) == 309
    result = info(path, "--key", "general.nam")
    assert result.status == 2
    assert "unknown key general.nam (did you mean general.name?)" in result.stderr


def test_the_template_as_it_is(tiny_model: Path, tiny_base_model: Path) -> None:
    assert page(tiny_model, "--template") == tiny.CHATML + "\n"
    assert document(tiny_model, "--template") == {"chat_template": tiny.CHATML}
    result = info(tiny_base_model, "--template")
    assert result.status == 3
    assert "has no chat template" in result.stderr


def test_hashes(tiny_model: Path) -> None:
    data = tiny_model.read_bytes()
    lines = page(tiny_model, "--hash").splitlines()
    assert lines[-1] == f"{hashlib.sha256(data).hexdigest()}  {tiny_model}"
    assert len(lines) == 22
    found = document(tiny_model, "--hash")
    assert found["files"][str(tiny_model)] == hashlib.sha256(data).hexdigest()
    assert found["tensors"]["output_norm.weight"] == hashlib.sha256(tiny.floats([1.0] * 64)).hexdigest()


# --- one document ----------------------------------------------------------------------------------------------------


def test_everything_as_one_document(tiny_model: Path) -> None:
    found = document(tiny_model)
    assert found["path"] == str(tiny_model)
    assert found["size"] == tiny_model.stat().st_size
    assert found["architecture"] == "llama"
    assert found["name"] == "Tiny"
    assert (found["parts"], found["parameters"], found["quantization"], found["bits_per_weight"]) == (1, 113600, "F32", 32.0)
    assert (found["context_length"], found["block_count"], found["embedding_length"]) == (512, 2, 64)
    assert (found["vocabulary"]["type"], found["vocabulary"]["size"]) == ("BPE", 309)
    assert found["vocabulary"]["special_tokens"]["eos"] == {"id": 2, "text": "<|im_end|>"}
    assert found["chat_template"] == tiny.CHATML
    assert found["chat_template_supports"] == {"tools": False, "system_role": True, "reasoning": False}
    assert found["metadata"]["llama.attention.layer_norm_rms_epsilon"] == 1e-05
    assert found["metadata"]["tokenizer.ggml.tokens"] == {"type": "str", "length": 309}
    norm = found["tensors"][1]
    assert norm.pop("offset") % 32 == 0
    assert norm == {"name": "output_norm.weight", "shape": [64], "type": "F32", "size": 256, "part": 0}


def test_long_arrays_only_when_asked_for(tmp_path: Path) -> None:
    change = {
        "short": list(range(16)),
        "long": list(range(17)),
        "empty": Typed(ARRAY, [], F32),
        "odd": Typed(F32, float("nan")),
    }
    path = tiny.tiny_model(tmp_path / "m.gguf", change=change)
    found = document(path)["metadata"]
    assert found["short"] == list(range(16))
    assert found["long"] == {"type": "u32", "length": 17}
    assert (found["empty"], found["odd"]) == ([], None)
    assert document(path, "--full")["metadata"]["long"] == list(range(17))
    assert document(path, "--full")["metadata"]["tokenizer.ggml.tokens"][1] == "<|im_start|>"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--key", "a", "--hash"], "--key cannot be used with --hash"),
        (["--check", "--tensors"], "--check cannot be used with --tensors"),
        (["--full"], "--full needs --json"),
        (["-np", "2"], "-np needs --fit"),
    ],
)
def test_what_cannot_be_combined(tiny_model: Path, arguments: list[str], says: str) -> None:
    result = info(tiny_model, *arguments)
    assert result.status == 2
    assert says in result.stderr


def test_numbers_by_layer(tmp_path: Path) -> None:
    change = {
        "llama.attention.head_count": Typed(tiny.ARRAY, [4, 4], tiny.U32),
        "llama.attention.head_count_kv": Typed(tiny.ARRAY, [2, 4], tiny.U32),
        "llama.feed_forward_length": Typed(tiny.ARRAY, [96, 48], tiny.U32),
    }
    path = tiny.tiny_model(tmp_path / "m.gguf", change=change)
    lines = page(path).splitlines()
    assert "heads             4" in lines
    assert "KV heads          2 to 4 (1 layer with 2, 1 with 4)" in lines
    assert "feed-forward      48 to 96 (1 layer with 96, 1 with 48)" in lines
    found = document(path)
    assert (found["head_count"], found["head_count_kv"], found["feed_forward_length"]) == ([4, 4], [2, 4], [96, 48])


# --- bad files -------------------------------------------------------------------------------------------------------


def test_bad_files_are_one_line_and_status_3(tiny_model: Path, tmp_path: Path) -> None:
    data = tiny_model.read_bytes()
    cases = {
        "cut.gguf": (data[:100_000], "ends at byte 100000"),
        "header.gguf": (data[:3000], "bytes remain (the file may be truncated)"),
        "html.gguf": (b"<html>", "a web page"),
        "empty.gguf": (b"", "the file is empty"),
        "new.gguf": (data[:4] + b"\x63" + data[5:], "GGUF version 99, expected 2 or 3"),
    }
    for name, (content, says) in cases.items():
        (tmp_path / name).write_bytes(content)
        result = info(tmp_path / name)
        assert (result.status, result.stdout) == (3, "")
        assert says in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_dangling_link_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").symlink_to("nowhere.gguf")
    assert info(tmp_path / "model.gguf").stderr.endswith("model.gguf (it is a link to a file that does not exist)\n")
    assert "did you mean" not in info(tmp_path / "modle.gguf").stderr


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_of_a_sound_file(tiny_model: Path) -> None:
    assert page(tiny_model, "--check") == "sound\n"
    assert document(tiny_model, "--check") == {"path": str(tiny_model), "sound": True, "findings": []}


def test_check_lists_what_is_wrong(tmp_path: Path) -> None:
    change = {"llama.block_count": 0, "tokenizer.ggml.eos_token_id": 999, "general.file_type": 777}
    path = tiny.tiny_model(tmp_path / "m.gguf", change=change)
    result = info(path, "--check")
    assert result.status == 3
    lines = result.stdout.splitlines()
    assert "error    key llama.block_count at byte" in lines[0]
    assert lines[0].endswith("is 0, expected a number from 1 to 512")
    assert any(line.startswith("warning  key tokenizer.ggml.eos_token_id") for line in lines)
    assert any(line.startswith("note     key general.file_type") for line in lines)
    assert lines[-1] == "not sound: 1 error, 1 warning, 1 note"
    assert "m.gguf is not sound: 1 error, 1 warning, 1 note" in result.stderr
    found = json.loads(info(path, "--check", "--json").stdout)
    assert found["sound"] is False
    assert [one["severity"] for one in found["findings"]] == ["error", "warning", "note"]


def test_check_lets_llama_cpp_parse_the_template(tmp_path: Path) -> None:
    path = tiny.tiny_model(tmp_path / "m.gguf", template="{{ 1 +* }}")
    result = info(path, "--check")
    assert result.status == 3
    assert "error    template default: the chat template does not parse" in result.stdout


def test_check_of_a_cut_file_lists_the_tensors_that_are_missing(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny_model.read_bytes()[:-40_000])
    result = info(path, "--check")
    assert result.status == 3
    assert "error    tensor blk.1.ffn_down.weight at byte" in result.stdout
    path.write_bytes(tiny_model.read_bytes()[:20_000])
    lines = info(path, "--check").stdout.splitlines()
    assert "tensor token_embd.weight at byte" in lines[0]
    assert re.fullmatch(r"         and \d+ more like this, the last for tensor \S+", lines[1])
    assert len(lines) == 3
    found = json.loads(info(path, "--check", "--json").stdout)["findings"]
    assert len(found) > 10
    assert lines[2] == f"not sound: {len(found)} errors"


# --- diff ------------------------------------------------------------------------------------------------------------


def test_diff(tiny_model: Path, tmp_path: Path) -> None:
    same = info(tiny_model, "--diff", tiny_model)
    assert (same.status, same.stdout) == (0, "no differences\n")
    other = tiny.tiny_model(tmp_path / "other.gguf", change={"general.name": "Other"}, drop_tensors=["output.weight"])
    result = info(tiny_model, "--diff", other)
    assert result.status == 8
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "~ general.name",
        "    - Tiny",
        "    + Other",
        "- output.weight: F32 [64, 309]",
        "1 key and 1 tensor differ",
    ]
    found = json.loads(info(tiny_model, "--diff", other, "--json").stdout)
    assert (found["same"], len(found["differences"])) == (False, 2)


def test_diff_fits_a_screen() -> None:
    many = [
        Difference("tensor", f"blk.{n}.ffn_up.weight", "changed", "F16 [4096, 14336]", "Q4_K [4096, 14336]") for n in range(80)
    ]
    shapes = [Difference("tensor", f"blk.{n}.a", "changed", "F16 [8]", "F16 [9]") for n in range(2)]
    long = [Difference("key", "tokenizer.chat_template", "changed", "x" * 5000, "y" * 5000)]
    lines = format_differences(long + many + shapes, width=80).splitlines()
    assert len(lines) == 8
    assert max(map(len, lines)) <= 80
    assert "~ 80 tensors: F16 -> Q4_K" in lines
    assert "~ 2 tensors: F16 [8] -> F16 [9]" in lines


# --- fit -------------------------------------------------------------------------------------------------------------


def test_fit_of_a_model_here(tiny_model: Path) -> None:
    found = document(tiny_model, "--fit", "-c", "512", "-np", "2")
    assert found["fits"] is True
    assert found["is_estimate"] is False
    assert (found["context"], found["sequences"], found["trained_context"]) == (512, 2, 512)
    assert found["largest_context"] == 512
    assert found["flags"][:2] == ["-c", "512"]
    (host,) = found["devices"]
    assert host["host"] is True
    assert host["cache"] >= 2 * 512 * 2 * (64 + 64)
    assert 0.9 < host["weights"] / 454_400 < 1.1
    assert found["total"] == sum(host[part] for part in ("weights", "cache", "compute", "program"))
    result = info(tiny_model, "--fit", "-ctk", "q8_0")  # the heads of this model are shorter than a block of q8_0
    assert result.status == 3
    assert "cannot create such a context for this model (try -ctk f16 -ctv f16" in result.stderr
    shown = page(tiny_model, "--fit").splitlines()
    assert shown[0] == "memory for a context of 512 tokens, by llama.cpp's allocator"
    assert "verdict           fits" in shown


def test_an_eagle_head_says_which_models_it_fits(tmp_path: Path) -> None:
    head = tiny_eagle.eagle_head(tmp_path / "head.gguf", known=range(3, 250))
    tiny.tiny_model(tmp_path / "fits.gguf")
    tiny.tiny_model(tmp_path / "wide.gguf", width=128)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    shown = page(head)
    assert "This is the EAGLE-3 head of a model, which drafts for that one.\n" in shown
    rows = dict(re.findall(r"^(\S+(?: \S+)*)  +(.*)$", shown, re.MULTILINE))
    assert rows["takes"] == "the inputs of the model's layers 0, 1 and 1"
    assert rows["fits"] == "models with embeddings of 64 values and the same 309 tokens"
    assert rows["drafts"] == "247 of these tokens"
    assert rows["models here"] == "fits.gguf"
    assert document(head)["kind"].startswith("the EAGLE-3 head")


def test_fit_counts_the_draft_model(tiny_model: Path, tmp_path: Path) -> None:
    draft = tiny.tiny_model(tmp_path / "draft.gguf", layers=1)
    alone, both = document(tiny_model, "--fit"), document(tiny_model, "--fit", "-md", draft)
    assert alone["devices"][0]["draft"] == 0
    assert both["devices"][0]["draft"] > 0
    assert both["total"] - alone["total"] >= both["devices"][0]["draft"]
    assert "draft model" in page(tiny_model, "--fit", "-md", draft)
    other = tiny.tiny_model(tmp_path / "other.gguf", change={"tokenizer.ggml.model": "llama"})
    result = info(tiny_model, "--fit", "-md", other)
    assert (result.status, "other.gguf has another vocabulary than tiny.gguf" in result.stderr) == (2, True)


def test_drafts_of_the_settings_are_for_other_commands(tiny_model: Path) -> None:
    for defaults in ({"model_draft": "missing.gguf"}, {"mtp": True}):
        result = info(tiny_model, defaults=defaults)
        assert (result.status, result.stderr) == (0, ""), defaults


def test_fit_counts_the_projector(tmp_path: Path) -> None:
    model = tiny.tiny_model(tmp_path / "Tiny.gguf")
    alone = document(model, "--fit")
    projector = write_projector(tmp_path / "mmproj-F16.gguf")
    options: dict[str, Any] = {"find_projector": find_projector}
    found = json.loads(info(model, "--fit", "--json", **options).stdout)
    (host,) = found["devices"]
    assert alone["devices"][0]["projector"] == 0
    assert host["projector"] == projector_memory(read_files(projector).header)
    assert found["total"] == sum(host[part] for part in ("weights", "cache", "compute", "program", "projector"))
    assert "   projector " in info(model, "--fit", **options).stdout
    narrow = write_projector(tmp_path / "narrow.gguf", width=48)
    result = info(model, "--fit", "--mmproj", narrow, **options)
    assert result.status == 3
    assert "narrow.gguf makes embeddings of 48 values, and Tiny.gguf has 64" in result.stderr
    result = info(model, "--mmproj", projector)
    assert (result.status, "--mmproj needs --fit" in result.stderr) == (2, True)


def inspect_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inspect in this process, for tests that replace a part of it."""
    child = InProcessChild(inspection.service())
    monkeypatch.setattr("llamacli.backend.child.inspection.start_child", lambda *_, **__: child)


def test_fit_says_what_would_fit(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect_here(monkeypatch)
    """With a budget between the smallest and the largest context: found, and to the next 256 tokens the largest."""
    meter = fit_meter.NativeMeter(tiny_model)
    small = meter.measure(ModelParams(), ContextParams(), 256).devices[0]
    monkeypatch.setattr(fit_meter, "_peak_memory", lambda: small.program)
    path = tiny.tiny_model(tiny_model.with_name("long.gguf"), context=8192)
    sizes = {
        size: fit_meter.NativeMeter(path).measure(ModelParams(), ContextParams(), size).devices[0].needed
        for size in (2048, 2304, 8192)
    }
    monkeypatch.setattr(fit_meter, "available_memory", lambda: (sizes[2048] + sizes[2304]) // 2)
    result = info(path, "--fit", "-c", "8192", "--json")
    found = json.loads(result.stdout)
    assert result.status == 4
    assert found["largest_context"] == 2048
    assert found["fits"] is False
    assert found["flags"] == ["-c", "8192", "-ctk", "q4_0", "-ctv", "q4_0"] or found["flags"] == ["-c", "2048"]
    assert "does not fit: it needs" in result.stderr
    assert f"use {' '.join(found['flags'])}" in result.stderr
    assert info(path, "--fit", "-c", "2048").status == 0


def test_fit_when_nothing_fits(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect_here(monkeypatch)
    monkeypatch.setattr(fit_meter, "available_memory", lambda: 1000)
    result = info(tiny_model, "--fit")
    assert result.status == 4
    assert "largest context   none (the weights alone are too large)" in result.stdout
    assert "use a smaller quantization" in result.stderr


def test_fit_with_a_gpu_is_shown_for_each_device() -> None:
    gpu = DeviceShare(
        name="CUDA0", description="GPU", host=False, free=8 << 30, weights=4 << 30, cache=1 << 30, compute=1 << 28
    )
    host = dataclasses.replace(gpu, name="CPU", host=True, program=1 << 26, weights=0)
    report = FitReport(
        devices=(gpu, host), context=4096, sequences=1, trained_context=8192, layers=32, gpu_layers=-1, largest_context=6144,
        settings={"n_ctx": 4096, "gpu_layers": -1}, is_estimate=False,
    )  # fmt: skip
    lines = format_fit(report, ["-c", "4096", "-ngl", "all"]).splitlines()
    assert lines[2].split() == [
        "CUDA0",
        "4.0",
        "GiB",
        "1.0",
        "GiB",
        "256.0",
        "MiB",
        "0",
        "B",
        "5.2",
        "GiB",
        "8.0",
        "GiB",
    ]
    assert "layers on GPUs    all of 33" in lines
    assert "use               -c 4096 -ngl all" in lines
    assert report.fits
    assert not dataclasses.replace(gpu, free=5376 << 20).fits  # a margin stays free


# --- models on a server ----------------------------------------------------------------------------------------------


def test_only_the_header_of_a_model_on_a_server_is_fetched(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_model.read_bytes() + b"\0" * (8 << 20)
    with running() as hub:
        hub.files["user/repo"] = {"m-Q4_K_M.gguf": data}
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        shown = page("hf:user/repo:Q4_K_M")
        assert shown.splitlines()[0] == "Tiny"
        assert f"{hub.endpoint}/user/repo/resolve/" in shown
        assert [one.headers["Range"] for one in hub.bodies()] == ["bytes=0-1048575"]
        found = document("hf:user/repo:Q4_K_M", "--fit")
        assert (found["is_estimate"], found["fits"]) == (True, True)
        assert info("hf:user/repo:Q4_K_M", "--check").status == 0
        assert info("hf:user/repo:Q4_K_M", "--hash").status == 2
        assert info("hf:user/repo:Q9").status == 3
        result = info("hf:user/repo:Q4_K_M", "--offline")
        assert result.status == 3


def test_parts_on_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as hub:
        hub.files["user/repo"] = {path.name: path.read_bytes() for path in tiny.split_model(tmp_path)}
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        assert document("hf:user/repo:tiny-00001-of-00003.gguf")["parts"] == 3
        assert len(hub.bodies()) == 3


def test_a_server_without_ranges(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as hub:
        hub.files["user/repo"] = {"m.gguf": tiny_model.read_bytes()}
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.behaviour["m.gguf"] = dataclasses.replace(hub.api, ignore_range=True)
        assert document("hf:user/repo:m.gguf")["architecture"] == "llama"
        big = tiny.gguf_bytes({"general.architecture": "llama", "a": "x" * 900_000, "b": "y" * 900_000})
        hub.files["user/repo"] = {"m.gguf": big}
        result = info("hf:user/repo:m.gguf")
        assert result.status == 3
        assert "does not support range requests" in result.stderr


def test_a_difference_between_here_and_a_server(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as hub:
        hub.files["user/repo"] = {"m.gguf": tiny_model.read_bytes()}
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        result = info(tiny_model, "--diff", "hf:user/repo:m.gguf")
    assert result.status == 0
    assert "only the headers were compared" in result.stderr


# --- the system ------------------------------------------------------------------------------------------------------


def test_the_system(isolated_home: Path) -> None:
    rows = {line[:14].strip(): line[16:] for line in page("--system").splitlines()}
    assert rows["llamacli"] == "0.2.0"
    assert rows["llama.cpp"].startswith("0c1e57098")
    assert rows["settings"] == "~/.config/llamacli/config.toml"
    assert "CPU" in rows
    found = document("--system")
    assert found["kernels"] == library().llamacli_kernels_instructions().decode()
    assert rows["kernels"] == (
        f"our own for {found['kernels']}" if found["kernels"] else "llama.cpp's: we have none for this CPU"
    )
    assert (found["media"], rows["media"]) == ("libmtmd", "libmtmd")
    assert found["sandbox"]["missing"] == list(describe_sandbox().missing)
    assert all(reason in rows["sandbox"] for reason in describe_sandbox().missing)
    assert ("seccomp" in rows["sandbox"]) or not found["sandbox"]["seccomp"]
    assert found["backends"][0]["devices"][0]["kind"] == "cpu"
    assert str(isolated_home) not in json.dumps(found)


def test_numbers_as_people_write_them() -> None:
    import struct

    for text in ("1e-05", "0.1", "10000.0", "0.6", "1e+30"):
        stored = struct.unpack("f", struct.pack("f", float(text)))[0]
        assert shortest(stored) == float(text)
    assert shortest(float("inf")) == float("inf")
    assert shortest(1e300) == 1e300


def test_a_plain_address(tiny_model: Path, tmp_path: Path) -> None:
    with running() as hub:
        hub.files["user/repo"] = {
            "m.gguf": tiny_model.read_bytes(),
            **{p.name: p.read_bytes() for p in tiny.split_model(tmp_path)},
        }
        address = f"http://127.0.0.1:{hub.port}/cdn/user/repo"
        assert document(f"{address}/m.gguf")["path"] == f"{address}/m.gguf"
        assert document(f"{address}/tiny-00001-of-00003.gguf")["parts"] == 3
        assert info(f"{address}/nothing.gguf").status == 3
        assert info("http://example.org/m.gguf").status != 0  # neither https nor this machine


def test_the_largest_context_is_found_in_a_few_measurements(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The formula grows in a straight line, so that any budget can be checked against each size."""
    path = tiny.tiny_model(tiny_model.with_name("wide.gguf"), context=1 << 20)
    files = read_files(path)
    with FileSource(path) as source:
        meter = fit_meter.FormulaMeter(files, source)
        needed = [meter.measure(ModelParams(), ContextParams(), size).devices[0].needed for size in (256, 77 * 256, 78 * 256)]
        for budget, expected in ((needed[0] - 1, 0), (needed[0], 256), (needed[1], 77 * 256), (needed[2] - 1, 77 * 256)):
            monkeypatch.setattr(fit_meter, "available_memory", lambda budget=budget: budget)
            counted = fit_meter.FormulaMeter(files, source)
            sizes: list[int] = []
            measure = counted.measure
            counted.measure = lambda *a, m=measure, s=sizes: (s.append(a[2]), m(*a))[1]  # type: ignore[method-assign]
            assert fit_search._largest(counted, ModelParams(), ContextParams(), 1 << 20) == expected
            assert len(sizes) <= 8
