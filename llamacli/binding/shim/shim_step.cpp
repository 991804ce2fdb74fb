// The engine's inner loop: see shim_step.h.
#include "shim_step.h"

#include "shim_constraint.h"

#include "build-info.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
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
constexpr int   FEW            = 256; // of the best tokens, searched before the whole vocabulary
constexpr int   BLOCK          = 16; // floats compared at once: one 512-bit or two 256-bit registers

std::atomic<ggml_log_callback> log_callback{ nullptr };
std::atomic<int>               log_min_level{ GGML_LOG_LEVEL_NONE };

constexpr unsigned NODES_AT_ONCE = 64; // of a graph, between two looks at a flag: each costs a pause of all threads

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

// The largest of BLOCK values. Compilers turn this form of comparison into a vector instruction without -ffast-math.
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

// The k largest logits, in descending order. Only blocks whose maximum exceeds the k-th best so far are searched.
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

// e^x for x from -87 to 0, to about 2e-7 of its value: 2^k e^r with r within ln 2 / 2, and a polynomial for e^r (Cephes, expf).
// It has no branch or call, so that compilers vectorize loops over it.
inline float exponential(float x) {
    const float shifted = x * 1.44269504f + 12582912.0f; // 1.5 * 2^23: the low bits are now k
    const float k       = shifted - 12582912.0f;
    const float r       = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float       e       = 1.9875691500e-4f;
    e                   = e * r + 1.3981999507e-3f;
    e                   = e * r + 8.3334519073e-3f;
    e                   = e * r + 4.1665795894e-2f;
    e                   = e * r + 1.6666665459e-1f;
    e                   = e * r + 5.0000001201e-1f;
    e                   = e * r * r + r + 1.0f;
    uint32_t bits;
    std::memcpy(&bits, &shifted, sizeof(bits));
    bits = (bits + 127u) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof(power));
    return e * power;
}

// The sum of e^(x[i] - best); what is below e^-87 counts as that.
double sum_of_exponentials(const float * x, int n, float best) {
    double sum = 0.0;
    int    i   = 0;
    while (i + BLOCK <= n) {
        const int end = std::min(n, i + BLOCK * BLOCK); // bounds the rounding error of the single-precision sum
        float     lanes[BLOCK] = {};
        for (; i + BLOCK <= end; i += BLOCK) {
            for (int j = 0; j < BLOCK; ++j) {
                const float d = x[i + j] - best;
                lanes[j] += exponential(d > -87.0f ? d : -87.0f);
            }
        }
        for (float lane : lanes) {
            sum += lane;
        }
    }
    for (; i < n; ++i) {
        sum += std::exp(static_cast<double>(x[i] - best));
    }
    return sum;
}

void fill_logprobs(const float * logits, int n, int n_top, llamacli_choice & choice, llamacli_candidate * top) {
    const float best = maximum(logits, n);
    const float offset = best + static_cast<float>(std::log(sum_of_exponentials(logits, n, best)));
    choice.logprob     = logits[choice.token] - offset;
    if (n_top > 0) {
        std::vector<llama_token_data> ranked;
        select_top(logits, n, std::min(n_top, n), ranked);
        for (const llama_token_data & candidate : ranked) {
            top[choice.n_top++] = { candidate.id, candidate.logit - offset };
        }
    }
}

// Adds biases to the logits while it lives: only the samplers see them.
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
    const llamacli_lane & lane;

    llama_token choose(std::vector<llama_token_data> & candidates) const {
        if (lane.greedy) {
            return argmax(logits, n);
        }
        if (lane.top_k > 0 && lane.top_k < n) {
            select_top(logits, n, lane.top_k, candidates);
            return run_chain(lane.chain, candidates, true);
        }
        if (!(maximum(logits, n) > MINUS_INFINITY)) {
            return LLAMA_TOKEN_NULL;
        }
        all_candidates(logits, n, candidates);
        return run_chain(lane.chain, candidates, false);
    }

    // The same among the tokens that the constraint allows. If only the best of these matter, the best of all are searched first,
    // and mostly contain them.
    llama_token choose_allowed(std::vector<llama_token_data> & candidates) const {
        const size_t wanted = lane.greedy ? 1 : lane.top_k > 0 ? static_cast<size_t>(lane.top_k) : 0;
        if (wanted > 0 && static_cast<int>(wanted) < n) {
            select_top(logits, n, std::min(n, std::max(FEW, static_cast<int>(2 * wanted))), candidates);
            llamacli::remove_forbidden(*lane.constraint, candidates);
            if (candidates.size() >= wanted) {
                candidates.resize(wanted);
                return lane.greedy ? candidates.front().id : run_chain(lane.chain, candidates, true);
            }
        }
        llamacli::allowed_candidates(*lane.constraint, logits, n, candidates);
        if (!lane.greedy || candidates.empty()) {
            return run_chain(lane.chain, candidates, false);
        }
        const auto less = [](const llama_token_data & a, const llama_token_data & b) { return a.logit < b.logit; };
        return std::max_element(candidates.begin(), candidates.end(), less)->id;
    }
};

int32_t choose(float * logits, int n, const llamacli_lane & lane, llamacli_choice & choice, llamacli_candidate * top) {
    thread_local std::vector<llama_token_data> candidates;
    const Chooser chooser = { logits, n, lane };
    {
        const Biased biased(logits, lane.biases, lane.n_biases);
        choice.token = chooser.choose(candidates);
        if (choice.token == LLAMA_TOKEN_NULL) {
            return 2;
        }
        if (lane.constraint && !llamacli::allows(*lane.constraint, choice.token)) {
            choice.token = chooser.choose_allowed(candidates);
            if (choice.token == LLAMA_TOKEN_NULL) {
                return 1;
            }
        }
    }
    if (lane.n_top >= 0) {
        fill_logprobs(logits, n, lane.n_top, choice, top);
    }
    if (lane.constraint) {
        llamacli::accept(*lane.constraint, choice.token);
    }
    llama_sampler_accept(lane.chain, choice.token);
    return 0;
}

const llama_vocab * vocabulary(llama_context * ctx) {
    return llama_model_get_vocab(llama_get_model(ctx));
}

// Evaluates the token of each lane.
int32_t evaluate(llama_context * ctx, llamacli_lane * lanes, int32_t n_lanes) {
    thread_local std::vector<llama_token>    tokens;
    thread_local std::vector<llama_pos>      positions;
    thread_local std::vector<int32_t>        counts;
    thread_local std::vector<llama_seq_id *> sequences;
    thread_local std::vector<int8_t>         outputs;
    tokens.resize(n_lanes);
    positions.resize(n_lanes);
    sequences.resize(n_lanes);
    counts.assign(n_lanes, 1);
    outputs.assign(n_lanes, 1);
    for (int32_t i = 0; i < n_lanes; ++i) {
        tokens[i]    = lanes[i].token;
        positions[i] = lanes[i].position;
        sequences[i] = &lanes[i].sequence;
    }
    return llama_decode(ctx, { n_lanes, tokens.data(), nullptr, positions.data(), counts.data(), sequences.data(), outputs.data() });
}

bool has_certain_text(const llamacli_lane & lane) {
    return lane.certain > 0 && lane.constraint &&
           llamacli::certain_text(*lane.constraint, lane.certain).size() >= static_cast<size_t>(lane.certain);
}

// One step of all lanes. False when it was the last for one of them.
bool step(llama_context * ctx, llamacli_lane * lanes, int32_t n_lanes, llamacli_choice * choices) {
    const llama_vocab * vocab = vocabulary(ctx);
    bool                go_on = true;
    for (int32_t i = 0; i < n_lanes; ++i) {
        llamacli_lane &   lane   = lanes[i];
        llamacli_choice & choice = choices[i];
        const int32_t     status = llamacli_sample(ctx, i, &lane, &choice, nullptr);
        if (status != 0) {
            choice = { LLAMA_TOKEN_NULL, status, NAN };
            go_on  = false;
            continue;
        }
        lane.token = choice.token;
        lane.position += 1;
        const bool ends = llama_vocab_is_eog(vocab, choice.token) ||
                          (lane.constraint && !(llamacli_constraint_state(lane.constraint) & 1));
        const bool unsure = lane.least > 0.0f && choice.logprob < std::log(lane.least);
        go_on = go_on && !ends && !unsure && !has_certain_text(lane);
    }
    return go_on;
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

bool llamacli_node_callback(struct ggml_tensor *, bool ask, void * abort) {
    static thread_local unsigned node = 0;
    if (ask) {
        return ++node % NODES_AT_ONCE == 0; // between the nodes for which this is true ggml computes without a pause
    }
    return !llamacli_abort_callback(abort);
}

void llamacli_log_callback(enum ggml_log_level level, const char * text, void * user_data) {
    filter_log(level, text, user_data);
}

void llamacli_log_filter(ggml_log_callback callback, enum ggml_log_level min_level) {
    log_min_level.store(min_level);
    log_callback.store(callback);
    llama_log_set(filter_log, nullptr);
}

int32_t llamacli_sample(llama_context * ctx, int32_t index, const llamacli_lane * lane, llamacli_choice * choice,
                        llamacli_candidate * top) {
    *choice = { LLAMA_TOKEN_NULL, 0, NAN };
    try {
        float * logits = llama_get_logits_ith(ctx, index);
        return logits ? choose(logits, llama_vocab_n_tokens(vocabulary(ctx)), *lane, *choice, top) : 2;
    } catch (const std::exception &) {
        return 3; // no C++ exception may cross into the interpreter
    }
}

int32_t llamacli_burst(llama_context * ctx, llamacli_lane * lanes, int32_t n_lanes, int32_t max_steps, int64_t budget_us,
                       llamacli_choice * choices, int32_t * n_steps) {
    *n_steps = 0;
    try {
        const int64_t start = ggml_time_us();
        while (*n_steps < max_steps) {
            const int32_t status = evaluate(ctx, lanes, n_lanes);
            if (status != 0) {
                return *n_steps == 0 || status == 2 ? status : 0; // 2 is a cancellation; another failure recurs in a step of its own
            }
            const bool    go_on = step(ctx, lanes, n_lanes, choices + *n_steps * n_lanes);
            const int64_t spent = ggml_time_us() - start;
            *n_steps += 1;
            if (!go_on || spent + spent / *n_steps > budget_us) {
                break;
            }
        }
        return 0;
    } catch (const std::exception &) {
        return -2; // llama_decode's status for out of memory
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
