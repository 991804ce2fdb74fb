// The shim's part for the engine's inner loop: cancelling, log filtering and one step of sampling. Plain C.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ggml.h"
#include "llama.h"

#ifdef _WIN32
#    define LLAMACLI_API __declspec(dllexport)
#else
#    define LLAMACLI_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

// The llama.cpp commit that these libraries were built from, or "unknown".
LLAMACLI_API const char * llamacli_llama_cpp_commit(void);

// An atomic flag that any thread may set, read by the two callbacks without the interpreter's lock.
struct llamacli_abort;

LLAMACLI_API struct llamacli_abort * llamacli_abort_new(void);
LLAMACLI_API void                    llamacli_abort_free(struct llamacli_abort * abort);
LLAMACLI_API void                    llamacli_abort_set(struct llamacli_abort * abort, bool value);
LLAMACLI_API bool                    llamacli_abort_get(const struct llamacli_abort * abort);
LLAMACLI_API bool                    llamacli_abort_callback(void * abort);                      // a ggml_abort_callback
LLAMACLI_API bool                    llamacli_progress_callback(float progress, void * abort);   // a llama_progress_callback
LLAMACLI_API float                   llamacli_abort_progress(const struct llamacli_abort * abort); // the last progress seen, 0 to 1

// Sends log lines of at least min_level to callback, for the whole process; continuations follow their line.
LLAMACLI_API void llamacli_log_filter(ggml_log_callback callback, enum ggml_log_level min_level);

struct llamacli_choice {
    llama_token token;   // LLAMA_TOKEN_NULL when there is none
    int32_t     n_top;   // candidates written to `top`
    float       logprob; // of the chosen token, before any sampler; NAN unless asked for
};

struct llamacli_candidate {
    llama_token token;
    float       logprob;
};

// A grammar that holds a sequence to it, with the place that was reached.
struct llamacli_constraint;

// NULL when llama.cpp does not take the grammar, which must have been checked for what crashes its parser.
LLAMACLI_API struct llamacli_constraint * llamacli_constraint_create(
    const struct llama_vocab * vocab, const char * grammar, const char * root);
LLAMACLI_API void llamacli_constraint_free(struct llamacli_constraint * constraint);

// Takes tokens until one is not allowed: how many were taken.
LLAMACLI_API int32_t llamacli_constraint_accept(struct llamacli_constraint * constraint, const llama_token * tokens, int32_t n_tokens);

// Takes a text, whatever tokens it is. False when it is not allowed: the constraint is of no use then.
LLAMACLI_API bool llamacli_constraint_accept_text(struct llamacli_constraint * constraint, const char * text, size_t n_bytes);

// 1 when text may follow, plus 2 when the text so far is complete.
LLAMACLI_API int32_t llamacli_constraint_state(const struct llamacli_constraint * constraint);

// A sequence that generates: how its tokens are chosen, and where it stands.
//   chain      : sees only `top_k` candidates where that is above 0, because it begins with that top-k
//   constraint : may be NULL; the chosen token alone is checked first, others are looked for only when it is refused
//   biases     : added to the logits of these tokens for the choice; log probabilities do not see them
//   greedy     : the chain cannot change which token is the most probable, so it is not run
//   n_top      : -1 no log probabilities, 0 the chosen token's, N also the N best
struct llamacli_lane {
    struct llama_sampler *          chain;
    struct llamacli_constraint *    constraint;
    const struct llama_logit_bias * biases;
    int32_t                         n_biases;
    int32_t                         top_k;
    int32_t                         n_top;
    bool                            greedy;
    llama_seq_id                    sequence;
    llama_pos                       position; // of `token`
    llama_token                     token;    // the next to be evaluated
};

// Chooses the next token from the logits of output `index` and tells chain and constraint about it.
// Returns 0; 1 when the constraint allows no token; 2 when the logits hold no finite number; 3 when C++ threw.
LLAMACLI_API int32_t llamacli_sample(
    struct llama_context * ctx, int32_t index, const struct llamacli_lane * lane, struct llamacli_choice * choice,
    struct llamacli_candidate * top);

// Several steps at once: evaluates the tokens of all lanes, chooses the next ones, and so on, until a lane comes to an end or
// fails, `max_steps` are done, or another step would pass `budget_us` microseconds. The lanes move on; none may ask for the N best.
// `choices` has room for max_steps rows of n_lanes; a lane that fails has no token there, and what llamacli_sample returns as
// its n_top. Returns what llama_decode returned where that was not 0 in the first step or says that it was cancelled, else 0.
LLAMACLI_API int32_t llamacli_burst(
    struct llama_context * ctx, struct llamacli_lane * lanes, int32_t n_lanes, int32_t max_steps, int64_t budget_us,
    struct llamacli_choice * choices, int32_t * n_steps);

// Writes the tokens that end a generation to `tokens`, at most `capacity`; returns how many there are.
LLAMACLI_API int32_t llamacli_end_tokens(const struct llama_vocab * vocab, llama_token * tokens, int32_t capacity);

#ifdef __cplusplus
}
#endif
