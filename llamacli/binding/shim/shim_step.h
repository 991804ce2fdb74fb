// The engine's inner loop: cancellation, log filtering and steps of sampling. Plain C.
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

// An atomic flag that any thread may set; the two callbacks read it without the interpreter lock.
struct llamacli_abort;

LLAMACLI_API struct llamacli_abort * llamacli_abort_new(void);
LLAMACLI_API void                    llamacli_abort_free(struct llamacli_abort * abort);
LLAMACLI_API void                    llamacli_abort_set(struct llamacli_abort * abort, bool value);
LLAMACLI_API bool                    llamacli_abort_get(const struct llamacli_abort * abort);
LLAMACLI_API bool                    llamacli_abort_callback(void * abort);                      // a ggml_abort_callback
LLAMACLI_API bool                    llamacli_progress_callback(float progress, void * abort);   // a llama_progress_callback
LLAMACLI_API float                   llamacli_abort_progress(const struct llamacli_abort * abort); // the last progress seen, 0 to 1

// A ggml_backend_sched_eval_callback that ends a computation at one of its next nodes when the flag is set.
LLAMACLI_API bool llamacli_node_callback(struct ggml_tensor * tensor, bool ask, void * abort);

// A ggml_log_callback for libraries with a log of their own: to the callback of the filter.
LLAMACLI_API void llamacli_log_callback(enum ggml_log_level level, const char * text, void * user_data);

// Sends the process' log lines of at least min_level, with their continuations, to callback.
LLAMACLI_API void llamacli_log_filter(ggml_log_callback callback, enum ggml_log_level min_level);

struct llamacli_choice {
    llama_token token;   // or LLAMA_TOKEN_NULL
    int32_t     n_top;   // candidates written to `top`
    float       logprob; // of the chosen token, before any sampler; NAN unless requested
};

struct llamacli_candidate {
    llama_token token;
    float       logprob;
};

// A grammar that constrains a sequence, and the state reached in it.
struct llamacli_constraint;

// NULL when llama.cpp rejects the grammar, which must have been checked, because some crash its parser.
LLAMACLI_API struct llamacli_constraint * llamacli_constraint_create(
    const struct llama_vocab * vocab, const char * grammar, const char * root);
LLAMACLI_API void llamacli_constraint_free(struct llamacli_constraint * constraint);

// Accepts tokens until one is not allowed, and returns the number accepted.
LLAMACLI_API int32_t llamacli_constraint_accept(struct llamacli_constraint * constraint, const llama_token * tokens, int32_t n_tokens);

// Accepts a text, however it is tokenized. Returns false when it is not allowed; the constraint is then unusable.
LLAMACLI_API bool llamacli_constraint_accept_text(struct llamacli_constraint * constraint, const char * text, size_t n_bytes);

// 1 if text may follow, plus 2 if the text so far is complete.
LLAMACLI_API int32_t llamacli_constraint_state(const struct llamacli_constraint * constraint);

// Writes the text that must follow, as far as there is no choice and `capacity` bytes hold it, and returns its length. The last
// character may be cut.
LLAMACLI_API int32_t llamacli_constraint_certain(struct llamacli_constraint * constraint, char * text, int32_t capacity);

// A generating sequence: the choice of its tokens, and its position.
//   chain      : receives only `top_k` candidates if that is above 0, because its first sampler is that top-k
//   constraint : may be NULL; the chosen token is checked first, and others are searched only if it is rejected
//   biases     : added to the logits of these tokens for the choice, but not for log probabilities
//   greedy     : the chain cannot change which token is the most probable, and is skipped
//   certain    : a burst ends where the constraint makes so many bytes of text certain; 0: it does not
//   least      : a burst ends with a token of a smaller probability, which must be requested; 0: it does not
//   n_top      : -1 no log probabilities, 0 that of the chosen token, N also those of the N best
struct llamacli_lane {
    struct llama_sampler *          chain;
    struct llamacli_constraint *    constraint;
    const struct llama_logit_bias * biases;
    int32_t                         n_biases;
    int32_t                         top_k;
    int32_t                         n_top;
    int32_t                         certain;
    float                           least;
    bool                            greedy;
    llama_seq_id                    sequence;
    llama_pos                       position; // of `token`
    llama_token                     token;    // the next to evaluate
};

// Chooses the next token from the logits of output `index`, and advances chain and constraint.
// Returns 0; 1 if the constraint allows no token; 2 if no logit is finite; 3 after a C++ exception.
LLAMACLI_API int32_t llamacli_sample(
    struct llama_context * ctx, int32_t index, const struct llamacli_lane * lane, struct llamacli_choice * choice,
    struct llamacli_candidate * top);

// Several steps: evaluates the tokens of all lanes, chooses the next ones, and repeats until a lane ends, fails or has certain text,
// `max_steps` are done, or another step would exceed `budget_us` microseconds. The lanes are advanced; none may request the N best.
// `choices` has room for max_steps rows of n_lanes; a lane that fails has no token there, and the status of llamacli_sample as its
// n_top. Returns the status of llama_decode if it is not 0 in the first step or a cancellation, else 0.
LLAMACLI_API int32_t llamacli_burst(
    struct llama_context * ctx, struct llamacli_lane * lanes, int32_t n_lanes, int32_t max_steps, int64_t budget_us,
    struct llamacli_choice * choices, int32_t * n_steps);

// Writes up to `capacity` tokens that end a generation to `tokens`, and returns their number.
LLAMACLI_API int32_t llamacli_end_tokens(const struct llama_vocab * vocab, llama_token * tokens, int32_t capacity);

#ifdef __cplusplus
}
#endif
