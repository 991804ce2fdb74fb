// The timed loops of benchmarks: see shim_measure.h. They do the work of llama-bench (tools/llama-bench), so that figures compare.
#include "shim_measure.h"

#include "ggml-backend.h"
#include "ggml-cpu.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <random>
#include <vector>

struct llamacli_workers {
    ggml_threadpool * pool;
    int32_t           n_threads;
    void (*release)(ggml_threadpool *);
};

namespace {

int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Batches of random tokens after those in the context's memory.
class token_stream {
public:
    token_stream(llama_context * ctx, int32_t n_sequences, int32_t capacity)
        : ctx(ctx), vocab(llama_model_get_vocab(llama_get_model(ctx))), n_sequences(n_sequences), capacity(capacity),
          batch(llama_batch_init(capacity, 0, 1)) {
        next.reserve(n_sequences);
        for (llama_seq_id id = 0; id < n_sequences; ++id) {
            next.push_back(llama_memory_seq_pos_max(llama_get_memory(ctx), id) + 1);
        }
    }

    ~token_stream() { llama_batch_free(batch); }

    token_stream(const token_stream &)             = delete;
    token_stream & operator=(const token_stream &) = delete;

    int32_t prompt(int32_t n_tokens) {
        for (llama_seq_id id = 0; id < n_sequences; ++id) {
            for (int32_t i = 0; i < n_tokens; ++i) {
                const bool last = i == n_tokens - 1;
                add(i == 0 ? first_token() : any_token(), id, last || batch.n_tokens == capacity - 1);
                if (batch.n_tokens == capacity || (last && id == n_sequences - 1)) {
                    if (const int32_t status = flush()) {
                        return status;
                    }
                }
            }
        }
        llama_synchronize(ctx);
        return 0;
    }

    int32_t step(bool first) {
        for (llama_seq_id id = 0; id < n_sequences; ++id) {
            add(first ? first_token() : any_token(), id, true);
        }
        const int32_t status = flush();
        llama_synchronize(ctx);
        return status;
    }

private:
    void add(llama_token token, llama_seq_id id, bool output) {
        const int32_t i    = batch.n_tokens++;
        batch.token[i]     = token;
        batch.pos[i]       = next[id]++;
        batch.n_seq_id[i]  = 1;
        batch.seq_id[i][0] = id;
        batch.logits[i]    = output;
    }

    int32_t flush() {
        const int32_t status = llama_decode(ctx, batch);
        batch.n_tokens       = 0;
        return status;
    }

    llama_token any_token() {
        static std::minstd_rand random; // continues from run to run; benchmarks run one at a time
        return static_cast<llama_token>(random() % llama_vocab_n_tokens(vocab));
    }

    llama_token first_token() { return llama_vocab_get_add_bos(vocab) ? llama_vocab_bos(vocab) : any_token(); }

    llama_context *        ctx;
    const llama_vocab *    vocab;
    int32_t                n_sequences;
    int32_t                capacity;
    llama_batch            batch;
    std::vector<llama_pos> next; // position of each sequence's next token
};

int32_t measure(token_stream & stream, int32_t n_prompt, int32_t n_gen, int64_t * steps_ns, llamacli_times & times) {
    const int64_t start = now_ns();
    if (n_prompt > 0) {
        if (const int32_t status = stream.prompt(n_prompt)) {
            return status;
        }
        times.prompt_ns = now_ns() - start;
    }
    int64_t before = start + times.prompt_ns;
    for (int32_t i = 0; i < n_gen; ++i) {
        if (const int32_t status = stream.step(i == 0)) {
            return status;
        }
        if (steps_ns) {
            const int64_t after = now_ns();
            steps_ns[i]         = after - before;
            before              = after;
        }
    }
    times.total_ns = now_ns() - start;
    return 0;
}

} // namespace

extern "C" {

llamacli_workers * llamacli_workers_new(int32_t n_threads, const uint8_t * cpus, int32_t n_cpus, bool strict, uint32_t poll) {
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (!device || n_threads < 1 || n_threads > GGML_MAX_N_THREADS) {
        return nullptr;
    }
    // By name, because the library with the CPU's code is chosen when the backends are loaded.
    ggml_backend_reg_t reg     = ggml_backend_dev_backend_reg(device);
    auto *             create  = reinterpret_cast<decltype(ggml_threadpool_new) *>(
        ggml_backend_reg_get_proc_address(reg, "ggml_threadpool_new"));
    auto *             release = reinterpret_cast<decltype(ggml_threadpool_free) *>(
        ggml_backend_reg_get_proc_address(reg, "ggml_threadpool_free"));
    if (!create || !release) {
        return nullptr;
    }
    ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    std::copy_n(cpus, std::min<int32_t>(n_cpus, GGML_MAX_N_THREADS), params.cpumask);
    params.strict_cpu = strict;
    params.poll       = poll;
    ggml_threadpool * pool = create(&params);
    if (!pool) {
        return nullptr;
    }
    auto * workers = new (std::nothrow) llamacli_workers{ pool, n_threads, release };
    if (!workers) {
        release(pool);
    }
    return workers;
}

void llamacli_workers_free(llamacli_workers * workers) {
    if (workers) {
        workers->release(workers->pool);
        delete workers;
    }
}

void llamacli_workers_attach(const llamacli_workers * workers, llama_context * ctx) {
    llama_attach_threadpool(ctx, workers->pool, nullptr);
    llama_set_n_threads(ctx, workers->n_threads, workers->n_threads);
}

int32_t llamacli_measure_tokens(llama_context * ctx, int32_t n_prompt, int32_t n_gen, int32_t n_sequences, int32_t n_batch,
                                int64_t * steps_ns, llamacli_times * times) {
    *times = { 0, 0 };
    try {
        const int64_t most = static_cast<int64_t>(n_prompt) * n_sequences;
        token_stream  stream(ctx, n_sequences, std::max<int32_t>(n_sequences, std::min<int64_t>(n_batch, most)));
        return measure(stream, n_prompt, n_gen, steps_ns, *times);
    } catch (const std::exception &) {
        return -2; // llama_decode's status for out of memory
    }
}

} // extern "C"
