// What predicts further tokens from a model's states, as a source of drafts: the model's own layers for that (multi-token
// prediction), or an EAGLE-3 head from a file of its own. Plain C.
#pragma once

#include "shim_step.h"

#ifdef __cplusplus
extern "C" {
#endif

// The heads of `model`'s context, with the hidden states that they take, for up to n_sequences. `heads` is a context of the type
// LLAMA_CONTEXT_TYPE_MTP of the same model, or one of an EAGLE-3 head, with n_outputs outputs, that fits the model. NULL when
// memory is short.
struct llamacli_heads;

LLAMACLI_API struct llamacli_heads * llamacli_heads_new(
    struct llama_context * model, struct llama_context * heads, int32_t n_sequences, int32_t n_outputs);
LLAMACLI_API void llamacli_heads_free(struct llamacli_heads * heads);

// Lets the heads follow tokens of a sequence that the model has just evaluated from `position` on; they were those from `output` on
// of its last batch. What the heads hold from `position` on is dropped; all of it, if they have not seen the tokens before.
// Returns the status of llama_decode.
LLAMACLI_API int32_t llamacli_heads_follow(
    struct llamacli_heads * heads, llama_seq_id sequence, const llama_token * tokens, int32_t n_tokens, llama_pos position,
    int32_t output);

// The position from which the heads can draft, or -1.
LLAMACLI_API llama_pos llamacli_heads_position(const struct llamacli_heads * heads, llama_seq_id sequence);

// Drafts what follows the token of a lane, at most max_steps tokens; the rest is as for llamacli_burst. The position must be that of
// llamacli_heads_position.
LLAMACLI_API int32_t llamacli_heads_draft(
    struct llamacli_heads * heads, struct llamacli_lane * lane, int32_t max_steps, struct llamacli_choice * choices,
    int32_t * n_steps);

#ifdef __cplusplus
}
#endif
