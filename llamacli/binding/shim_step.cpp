// The engine's inner loop: see shim_step.h.
#include "shim_step.h"

#include "shim_constraint.h"

#include "build-info.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <limits>
#include <new>
#include <vector>

struct llamacli_abort {
    std::atomic<bool>  flag{ false };
    std::atomic<float> progress{ 0.0f };
};

namespace {

constexpr float MINUS_INFINITY = -std::numeric_limits<float>::infinity();
constexpr int   FEW            = 256; // of the best tokens, looked through before the whole vocabulary
constexpr int   BLOCK          = 16; // floats compared at once: one 512-bit or two 256-bit registers

std::atomic<ggml_log_callback> log_callback{ nullptr };
std::atomic<int>               log_min_level{ GGML_LOG_LEVEL_NONE };

void filter_log(ggml_log_level level, const char * text, void *) {
    thread_local ggml_log_level last = GGML_LOG_LEVEL_INFO;
    if (level != GGML_LOG_LEVEL_CONT) {
        last = level;
    }
    const ggml_log_callback callback = log_callback.load();
    if (callback && last >= log_min_level.load()) {
        callback(level, text, nullptr);
    }
}

// The largest of BLOCK values. The comparison is written so that compilers make it one vector instruction without -ffast-math.
float block_max(const float * x) {
    float lanes[BLOCK];
    for (int j = 0; j < BLOCK; ++j) {
        lanes[j] = x[j];
    }
    for (int width = BLOCK / 2; width > 0; width /= 2) {
        for (int j = 0; j < width; ++j) {
            lanes[j] = lanes[j + width] > lanes[j] ? lanes[j + width] : lanes[j];
        }
    }
    return lanes[0];
}

float maximum(const float * x, int n) {
    float lanes[BLOCK];
    std::fill_n(lanes, BLOCK, MINUS_INFINITY);
    int i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        for (int j = 0; j < BLOCK; ++j) {
            lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
        }
    }
    float best = *std::max_element(lanes, lanes + BLOCK);
    for (; i < n; ++i) {
        best = x[i] > best ? x[i] : best;
    }
    return best;
}

llama_token argmax(const float * logits, int n) {
    const float best = maximum(logits, n);
    if (best == MINUS_INFINITY) {
        return LLAMA_TOKEN_NULL;
    }
    return static_cast<llama_token>(std::find(logits, logits + n, best) - logits);
}

bool greater_logit(const llama_token_data & a, const llama_token_data & b) {
    return a.logit > b.logit;
}

// The k largest logits, the largest first. A block is looked into only when its maximum beats the k-th best so far.
void select_top(const float * logits, int n, int k, std::vector<llama_token_data> & out) {
    out.clear();
    float threshold = MINUS_INFINITY;
    const auto consider = [&](int id) {
        if (!(logits[id] > threshold)) {
            return;
        }
        if (static_cast<int>(out.size()) == k) {
            std::pop_heap(out.begin(), out.end(), greater_logit);
            out.pop_back();
        }
        out.push_back({ id, logits[id], 0.0f });
        std::push_heap(out.begin(), out.end(), greater_logit);
        if (static_cast<int>(out.size()) == k) {
            threshold = out.front().logit;
        }
    };
    int i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        if (block_max(logits + i) > threshold) {
            for (int j = 0; j < BLOCK; ++j) {
                consider(i + j);
            }
        }
    }
    for (; i < n; ++i) {
        consider(i);
    }
    std::sort_heap(out.begin(), out.end(), greater_logit);
}

void all_candidates(const float * logits, int n, std::vector<llama_token_data> & out) {
    out.resize(n);
    for (int id = 0; id < n; ++id) {
        out[id] = { id, logits[id], 0.0f };
    }
}

llama_token run_chain(llama_sampler * chain, std::vector<llama_token_data> & candidates, bool sorted) {
    if (candidates.empty()) {
        return LLAMA_TOKEN_NULL;
    }
    llama_token_data_array array = { candidates.data(), candidates.size(), -1, sorted };
    llama_sampler_apply(chain, &array);
    if (array.selected < 0 || array.selected >= static_cast<int64_t>(array.size)) {
        return LLAMA_TOKEN_NULL;
    }
    return array.data[array.selected].id;
}

void fill_logprobs(const float * logits, int n, int n_top, llamacli_choice & choice, llamacli_candidate * top) {
    const float best = maximum(logits, n);
    double      sum  = 0.0;
    for (int id = 0; id < n; ++id) {
        sum += std::exp(static_cast<double>(logits[id] - best));
    }
    const float offset = best + static_cast<float>(std::log(sum));
    choice.logprob     = logits[choice.token] - offset;
    if (n_top > 0) {
        std::vector<llama_token_data> ranked;
        select_top(logits, n, std::min(n_top, n), ranked);
        for (const llama_token_data & candidate : ranked) {
            top[choice.n_top++] = { candidate.id, candidate.logit - offset };
        }
    }
}

// Adds biases to the logits and takes them away again: the samplers see them, whoever looks later does not.
class Biased {
  public:
    Biased(float * logits, const llama_logit_bias * biases, int32_t count) : logits(logits) {
        before.reserve(count);
        for (int32_t i = 0; i < count; ++i) {
            before.push_back({ biases[i].token, logits[biases[i].token] });
            logits[biases[i].token] += biases[i].bias;
        }
    }

    ~Biased() {
        for (size_t i = before.size(); i-- > 0;) {
            logits[before[i].token] = before[i].bias;
        }
    }

    Biased(const Biased &)             = delete;
    Biased & operator=(const Biased &) = delete;

  private:
    float *                       logits;
    std::vector<llama_logit_bias> before;
};

struct Chooser {
    const float *         logits;
    int                   n;
    llama_sampler *       chain;
    llamacli_constraint * constraint;
    int32_t               top_k;
    bool                  greedy;

    llama_token choose(std::vector<llama_token_data> & candidates) const {
        if (greedy) {
            return argmax(logits, n);
        }
        if (top_k > 0 && top_k < n) {
            select_top(logits, n, top_k, candidates);
            return run_chain(chain, candidates, true);
        }
        if (!(maximum(logits, n) > MINUS_INFINITY)) {
            return LLAMA_TOKEN_NULL;
        }
        all_candidates(logits, n, candidates);
        return run_chain(chain, candidates, false);
    }

    // The same among the tokens that the constraint allows. Where only the best of these count, they are looked for among the
    // best of all first: mostly they are there.
    llama_token choose_allowed(std::vector<llama_token_data> & candidates) const {
        const size_t wanted = greedy ? 1 : top_k > 0 ? static_cast<size_t>(top_k) : 0;
        if (wanted > 0 && static_cast<int>(wanted) < n) {
            select_top(logits, n, std::min(n, std::max(FEW, static_cast<int>(2 * wanted))), candidates);
            llamacli::remove_forbidden(*constraint, candidates);
            if (candidates.size() >= wanted) {
                candidates.resize(wanted);
                return greedy ? candidates.front().id : run_chain(chain, candidates, true);
            }
        }
        llamacli::allowed_candidates(*constraint, logits, n, candidates);
        if (!greedy || candidates.empty()) {
            return run_chain(chain, candidates, false);
        }
        const auto less = [](const llama_token_data & a, const llama_token_data & b) { return a.logit < b.logit; };
        return std::max_element(candidates.begin(), candidates.end(), less)->id;
    }
};

int32_t sample(float * logits, const Chooser & chooser, const llama_logit_bias * biases, int32_t n_biases, int32_t n_top,
               llamacli_choice & choice, llamacli_candidate * top) {
    thread_local std::vector<llama_token_data> candidates;
    {
        const Biased biased(logits, biases, n_biases);
        choice.token = chooser.choose(candidates);
        if (choice.token == LLAMA_TOKEN_NULL) {
            return 2;
        }
        if (chooser.constraint && !llamacli::allows(*chooser.constraint, choice.token)) {
            choice.token = chooser.choose_allowed(candidates);
            if (choice.token == LLAMA_TOKEN_NULL) {
                return 1;
            }
        }
    }
    if (n_top >= 0) {
        fill_logprobs(logits, chooser.n, n_top, choice, top);
    }
    if (chooser.constraint) {
        llamacli::accept(*chooser.constraint, choice.token);
    }
    llama_sampler_accept(chooser.chain, choice.token);
    return 0;
}

} // namespace

extern "C" {

const char * llamacli_llama_cpp_commit(void) {
    return llama_commit();
}

llamacli_abort * llamacli_abort_new(void) {
    return new (std::nothrow) llamacli_abort;
}

void llamacli_abort_free(llamacli_abort * abort) {
    delete abort;
}

void llamacli_abort_set(llamacli_abort * abort, bool value) {
    abort->flag.store(value);
}

bool llamacli_abort_get(const llamacli_abort * abort) {
    return abort->flag.load();
}

bool llamacli_abort_callback(void * abort) {
    return static_cast<llamacli_abort *>(abort)->flag.load(std::memory_order_relaxed);
}

bool llamacli_progress_callback(float progress, void * abort) {
    auto * state = static_cast<llamacli_abort *>(abort);
    state->progress.store(progress);
    return !state->flag.load();
}

float llamacli_abort_progress(const llamacli_abort * abort) {
    return abort->progress.load();
}

void llamacli_log_filter(ggml_log_callback callback, enum ggml_log_level min_level) {
    log_min_level.store(min_level);
    log_callback.store(callback);
    llama_log_set(filter_log, nullptr);
}

int32_t llamacli_sample(
    llama_context * ctx, int32_t index, llama_sampler * chain, llamacli_constraint * constraint, int32_t top_k, bool greedy,
    const llama_logit_bias * biases, int32_t n_biases, int32_t n_top, llamacli_choice * choice, llamacli_candidate * top) {
    *choice = { LLAMA_TOKEN_NULL, 0, NAN };
    try {
        float *   logits = llama_get_logits_ith(ctx, index);
        const int n      = llama_vocab_n_tokens(llama_model_get_vocab(llama_get_model(ctx)));
        if (!logits) {
            return 2;
        }
        return sample(logits, { logits, n, chain, constraint, top_k, greedy }, biases, n_biases, n_top, *choice, top);
    } catch (const std::exception &) {
        return 3; // no C++ exception may cross into the interpreter
    }
}

int32_t llamacli_end_tokens(const llama_vocab * vocab, llama_token * tokens, int32_t capacity) {
    int32_t count = 0;
    for (llama_token token = 0; token < llama_vocab_n_tokens(vocab); ++token) {
        if (llama_vocab_is_eog(vocab, token) && count++ < capacity) {
            tokens[count - 1] = token;
        }
    }
    return count;
}

} // extern "C"
