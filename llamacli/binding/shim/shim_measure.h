// The shim's part for benchmarks: the loops that are timed, free of the interpreter. Plain C.
#pragma once

#include "shim_step.h" // LLAMACLI_API

#ifdef __cplusplus
extern "C" {
#endif

// Threads that a context computes with.
struct llamacli_workers;

// cpus: one flag for each CPU that the threads may run on, n_cpus of them; none set means any. strict binds each thread to one.
// poll: how eagerly threads wait for work, 0 (sleep) to 100 (spin). NULL when this build has no such threads.
LLAMACLI_API struct llamacli_workers * llamacli_workers_new(
    int32_t n_threads, const uint8_t * cpus, int32_t n_cpus, bool strict, uint32_t poll);
LLAMACLI_API void llamacli_workers_free(struct llamacli_workers * workers); // after the contexts that use them

// The context computes with these from now on.
LLAMACLI_API void llamacli_workers_attach(const struct llamacli_workers * workers, struct llama_context * ctx);

struct llamacli_times {
    int64_t total_ns;
    int64_t prompt_ns;
};

// Evaluates n_prompt random tokens for each of n_sequences, in batches of up to n_batch, then n_gen times one token for each.
// Tokens follow what the memory holds; what is evaluated first begins with the beginning-of-sequence token, if the model adds one.
//   steps_ns : room for n_gen durations, or NULL
// Returns what llama_decode does: 0; 1 no place in the memory; 2 aborted; below 0 for failures.
LLAMACLI_API int32_t llamacli_measure_tokens(
    struct llama_context * ctx, int32_t n_prompt, int32_t n_gen, int32_t n_sequences, int32_t n_batch, int64_t * steps_ns,
    struct llamacli_times * times);

#ifdef __cplusplus
}
#endif
