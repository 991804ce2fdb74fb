// The timed loops of benchmarks, outside the interpreter. Plain C.
#pragma once

#include "shim_step.h" // LLAMACLI_API

#ifdef __cplusplus
extern "C" {
#endif

// Threads that a context computes with.
struct llamacli_workers;

// cpus: one flag per CPU, n_cpus of them, set where the threads may run; none set means any. strict binds each thread to one CPU.
// poll: eagerness in waiting for work, from 0 (sleep) to 100 (spin). Returns NULL when this build has no such threads.
LLAMACLI_API struct llamacli_workers * llamacli_workers_new(
    int32_t n_threads, const uint8_t * cpus, int32_t n_cpus, bool strict, uint32_t poll);
LLAMACLI_API void llamacli_workers_free(struct llamacli_workers * workers); // after the contexts that use them

// Makes the context compute with these threads.
LLAMACLI_API void llamacli_workers_attach(const struct llamacli_workers * workers, struct llama_context * ctx);

struct llamacli_times {
    int64_t total_ns;
    int64_t prompt_ns;
};

// Evaluates n_prompt random tokens for each of n_sequences in batches of up to n_batch, then n_gen times one token for each.
// They follow the tokens in memory; an empty memory gets the beginning-of-sequence token first, if the model adds one.
//   steps_ns : room for n_gen durations, or NULL
// Returns the status of llama_decode: 0 success; 1 memory full; 2 aborted; below 0 a failure.
LLAMACLI_API int32_t llamacli_measure_tokens(
    struct llama_context * ctx, int32_t n_prompt, int32_t n_gen, int32_t n_sequences, int32_t n_batch, int64_t * steps_ns,
    struct llamacli_times * times);

#ifdef __cplusplus
}
#endif
