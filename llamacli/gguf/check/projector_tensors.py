"""Tensors without which llama.cpp does not load a projector, by its type.

Source: `load_tensors` in `tools/mtmd/clip.cpp` at commit 0c1e57098; what it requires in loops or under conditions is left out.
"""

from __future__ import annotations

_REQUIRED = {
    "adapter": (
        "adapter.conv.* adapter.linear.linear.weight adapter.linear.norm1.* adapter.linear.dense_h_to_4h.weight "
        "adapter.linear.gate.weight adapter.linear.dense_4h_to_h.weight adapter.boi adapter.eoi"
    ),
    "cogvlm": "mm.model.fc.weight mm.post_fc_norm.* mm.up.weight mm.gate.weight mm.down.weight v.boi v.eoi",
    "deepseek4v": "mm.1.* mm.2.* v.image_newline v.token_embd.img_start v.token_embd.img_end v.token_embd.img_pad",
    "deepseekocr deepseekocr2": (
        "v.sam.pos_embd.weight v.sam.patch_embd.* v.sam.neck.0.weight v.sam.neck.1.* v.sam.neck.2.weight v.sam.neck.3.* "
        "v.sam.net_2.weight v.sam.net_3.weight v.view_seperator mm.model.fc.*"
    ),
    "dots3note_a": "a.conv2d.1.* a.conv2d.2.* a.conv2d.3.* a.conv_out.weight mm.a.norm_pre.* mm.a.mlp.1.* mm.a.mlp.3.*",
    "dots3note_v dots_ocr": "mm.0.* mm.2.* mm.input_norm.* mm.post_norm.weight",
    "exaone4_5 phi4 qwen2.5vl_merger qwen2vl_merger qwen3vl_merger": "mm.0.* mm.2.*",
    "gemma3 gemma3nv": "mm.input_projection.weight mm.soft_emb_norm.weight",
    "gemma4a": "a.input_projection.weight",
    "gemma4ua": "mm.a.input_projection.weight",
    "gemma4uv": "mm.input_projection.weight v.patch_norm.1.* v.patch_norm.2.* v.patch_norm.3.*",
    "gemma4v": "mm.input_projection.weight",
    "glm4v glm5v": "mm.model.fc.weight mm.up.weight mm.gate.weight mm.down.weight mm.post_norm.weight mm.patch_merger.*",
    "glma": "a.conv1d.1.* a.conv1d.2.* mm.a.mlp.1.* mm.a.mlp.2.* mm.a.norm_pre.* v.boi v.eoi",
    "granite4_vision": "v.image_newline",
    "granite_speech": (
        "a.input_projection.* a.enc_ctc_out.* a.enc_ctc_out_mid.* prefix.proj_query prefix.proj_norm.* prefix.proj_linear.*"
    ),
    "hunyuanvl": (
        "mm.0.* mm.2.* mm.model.fc.* mm.pre_norm.weight mm.post_norm.weight mm.image_begin mm.image_end v.image_newline"
    ),
    "idefics3": "mm.model.fc.weight",
    "internvl": "mm.model.mlp.0.* mm.model.mlp.1.* mm.model.mlp.3.*",
    "janus_pro": "mm.0.* mm.1.*",
    "kimik25 kimivl paddleocr": "mm.input_norm.* mm.1.* mm.2.*",
    "ldp": (
        "mm.model.mlp.1.* mm.model.mlp.3.* mm.model.mb_block.1.block.0.0.weight mm.model.mb_block.1.block.0.1.* "
        "mm.model.mb_block.1.block.1.fc1.* mm.model.mb_block.1.block.1.fc2.* mm.model.mb_block.1.block.2.0.weight "
        "mm.model.mb_block.1.block.2.1.* mm.model.mb_block.2.block.0.0.weight mm.model.mb_block.2.block.0.1.* "
        "mm.model.mb_block.2.block.1.fc1.* mm.model.mb_block.2.block.1.fc2.* mm.model.mb_block.2.block.2.0.weight "
        "mm.model.mb_block.2.block.2.1.*"
    ),
    "ldpv2": "mm.model.mlp.0.* mm.model.mlp.2.* mm.model.peg.0.*",
    "lfm2": "mm.1.* mm.2.*",
    "lfm2a": "a.pre_encode.out.* mm.a.mlp.0.* mm.a.mlp.1.* mm.a.mlp.3.*",
    "lightonocr": "mm.1.weight mm.2.weight",
    "ling3vl": "mm.input_norm.* mm.0.* mm.2.*",
    "llama4": "mm.model.fc.weight mm.model.mlp.1.weight mm.model.mlp.2.weight",
    "meralion": "a.conv1d.1.* a.conv1d.2.* mm.a.mlp.0.* mm.a.mlp.1.* mm.a.mlp.2.* mm.a.mlp.3.* mm.a.norm_pre.*",
    "mimo_audio": (
        "a.conv1d.1.* a.conv1d.2.* a.downsample.conv.weight a.downsample.norm.* mm.a.local_norm.weight "
        "mm.a.mlp.1.weight mm.a.mlp.2.weight"
    ),
    "mimovl yasa2": "mm.0.weight mm.2.weight",
    "minicpmv4_6": "mm.input_norm.weight mm.up.weight mm.down.weight",
    "minimax_m3": "mm.1.* mm.2.* mm.merger.fc1.* mm.merger.fc2.*",
    "mlp": "mm.0.*",
    "muse-glimmer": "mm.0.weight mm.1.weight mm.2.weight",
    "musicflamingo": "a.conv1d.1.* a.conv1d.2.* mm.a.mlp.1.* mm.a.mlp.2.*",
    "nemotron_v2_vl": "mm.model.mlp.0.weight mm.model.mlp.1.weight mm.model.mlp.3.weight",
    "parakeet": "a.pre_encode.out.* mm.model.mlp.0.weight mm.model.mlp.1.weight mm.model.mlp.3.weight",
    "pixtral": "mm.1.weight mm.2.weight v.token_embd.img_break",
    "pockettts_gen": (
        "a.gen.flow.input_proj.* a.gen.flow.cond_embd.* a.gen.flow.final.ada.* a.gen.flow.final.proj.* a.gen.out_eos.* "
        "a.gen.input_linear.weight a.gen.emb_mean a.gen.emb_std a.gen.wav.quant_out.weight a.gen.wav.upsample.weight"
    ),
    "pockettts_spkenc": "a.downsample.conv.weight a.speaker_proj.weight",
    "qwen2a": "a.conv1d.1.* a.conv1d.2.* mm.a.fc.*",
    "qwen3a": "a.conv2d.1.* a.conv2d.2.* a.conv2d.3.* a.conv_out.weight mm.a.mlp.1.* mm.a.mlp.2.*",
    "qwen3tts_gen": ("a.gen.code.embd.weight a.gen.code.head.weight a.gen.code.out_embd.weight a.gen.code.output_norm.weight"),
    "qwen3tts_spkenc": "a.conv1d.0.* a.conv_out.* a.asp_attn.* a.asp_tdnn.* mm.a.fc.*",
    "resampler": (
        "resampler.pos_embed_k resampler.query resampler.proj.weight resampler.kv.weight resampler.attn.q.* "
        "resampler.attn.k.* resampler.attn.v.* resampler.attn.out.* resampler.ln_q.* resampler.ln_kv.* "
        "resampler.ln_post.*"
    ),
    "step3vl": "mm.0.weight mm.1.weight mm.model.fc.weight",
    "ultravox": "a.conv1d.1.* a.conv1d.2.* mm.a.mlp.1.weight mm.a.mlp.2.weight mm.a.norm_pre.weight mm.a.norm_mid.weight",
    "voxtral": "a.conv1d.1.* a.conv1d.2.* mm.a.mlp.1.weight mm.a.mlp.2.weight",
    "youtuvl": "mm.input_norm.weight mm.0.* mm.2.*",
}
"""By types. `mm.0.*` stands for `mm.0.weight` and `mm.0.bias`."""


def _names(words: str) -> tuple[str, ...]:
    found: list[str] = []
    for word in words.split():
        stem = word.removesuffix("*")
        found += [word] if stem == word else [f"{stem}weight", f"{stem}bias"]
    return tuple(found)


REQUIRED_TENSORS = {kind: _names(words) for kinds, words in _REQUIRED.items() for kind in kinds.split()}
"""Names of tensors by type of projector. Types that are not here require none, beside those of their layers."""
