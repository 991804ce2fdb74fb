// The heads of a model: see shim_heads.h. A head takes a token and the model's hidden state of the token before it.
#include "shim_heads.h"

#include "llama-ext.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <vector>

namespace {

struct Sequence {
    llama_pos          next = -1; // the position that can be drafted from
    std::vector<float> hidden;    // the state of the token before it
};

} // namespace

struct llamacli_heads {
    llama_context *       model;
    llama_context *       heads;
    size_t                width;
    std::vector<Sequence> sequences;
};

namespace {

// Evaluates tokens with their states. The logits of the last one are kept if `output`.
int32_t evaluate(llama_context * ctx, llama_seq_id sequence, const llama_token * tokens, int32_t n_tokens, llama_pos position,
                 const float * states, bool output) {
    std::vector<llama_token>    ids(tokens, tokens + n_tokens);
    std::vector<llama_pos>      positions(n_tokens);
    std::vector<int32_t>        counts(n_tokens, 1);
    std::vector<llama_seq_id *> sequences(n_tokens, &sequence);
    std::vector<int8_t>         outputs(n_tokens, 0);
    for (int32_t i = 0; i < n_tokens; ++i) {
        positions[i] = position + i;
    }
    outputs.back() = output;
    return llama_decode(ctx, { n_tokens, ids.data(), const_cast<float *>(states), positions.data(), counts.data(),
                               sequences.data(), outputs.data() });
}

void drop(llamacli_heads & heads, llama_seq_id sequence, llama_pos from) {
    llama_memory_seq_rm(llama_get_memory(heads.heads), sequence, from, -1);
}

// Evaluates tokens in batches that the context of the heads takes. states has a row for each of them.
int32_t read(llamacli_heads & heads, llama_seq_id sequence, const llama_token * tokens, int32_t n_tokens, llama_pos position,
             const float * states) {
    const int32_t most = static_cast<int32_t>(llama_n_batch(heads.heads));
    for (int32_t done = 0; done < n_tokens;) {
        const int32_t count  = std::min(most, n_tokens - done);
        const int32_t status = evaluate(heads.heads, sequence, tokens + done, count, position + done,
                                        states + done * heads.width, false);
        if (status != 0) {
            return status;
        }
        done += count;
    }
    return 0;
}

int32_t follow(llamacli_heads & heads, llama_seq_id id, const llama_token * tokens, int32_t n_tokens, llama_pos position,
               int32_t output) {
    Sequence &         sequence = heads.sequences.at(id);
    const bool         goes_on  = sequence.next >= position || position == 0;
    const size_t       width    = heads.width;
    std::vector<float> states(width, 0.0f); // of the token before the first: none, or not known
    states.reserve((n_tokens + 1) * width);
    if (sequence.next == position) {
        states = sequence.hidden;
    }
    for (int32_t i = 0; i < n_tokens; ++i) {
        const float * row = llama_get_embeddings_nextn_ith(heads.model, output + i);
        if (!row) {
            sequence.next = -1;
            return 0;
        }
        states.insert(states.end(), row, row + width);
    }
    drop(heads, id, goes_on ? position : 0);
    sequence.next = -1; // until all went well
    const int32_t skipped = goes_on ? 0 : 1; // its state is not known, and nothing before it
    const int32_t status  = read(heads, id, tokens + skipped, n_tokens - skipped, position + skipped, states.data() + skipped * width);
    if (status != 0) {
        drop(heads, id, 0);
        return status;
    }
    sequence.hidden.assign(states.end() - width, states.end());
    sequence.next = position + n_tokens;
    return 0;
}

int32_t draft(llamacli_heads & heads, llamacli_lane & lane, int32_t max_steps, llamacli_choice * choices, int32_t * n_steps) {
    const Sequence & sequence = heads.sequences.at(lane.sequence);
    if (sequence.next != lane.position) {
        return -1;
    }
    const llama_vocab * vocab  = llama_model_get_vocab(llama_get_model(heads.heads));
    std::vector<float>  hidden = sequence.hidden;
    while (*n_steps < max_steps) {
        const int32_t status = evaluate(heads.heads, lane.sequence, &lane.token, 1, lane.position, hidden.data(), true);
        if (status != 0) {
            return *n_steps == 0 || status == 2 ? status : 0; // as in llamacli_burst
        }
        llamacli_choice & choice = choices[*n_steps];
        const int32_t     chosen = llamacli_sample(heads.heads, 0, &lane, &choice, nullptr);
        *n_steps += 1;
        if (chosen != 0) {
            choice = { LLAMA_TOKEN_NULL, chosen, NAN };
            return 0;
        }
        const float * row = llama_get_embeddings_nextn_ith(heads.heads, 0);
        const bool    unsure = lane.least > 0.0f && choice.logprob < std::log(lane.least);
        if (!row || unsure || llama_vocab_is_eog(vocab, choice.token)) {
            return 0;
        }
        hidden.assign(row, row + heads.width);
        lane.token = choice.token;
        lane.position += 1;
    }
    return 0;
}

} // namespace

extern "C" {

llamacli_heads * llamacli_heads_new(llama_context * model, llama_context * heads, int32_t n_sequences) {
    try {
        const size_t width = llama_model_n_embd_out(llama_get_model(model));
        auto made = std::make_unique<llamacli_heads>(llamacli_heads{ model, heads, width, std::vector<Sequence>(n_sequences) });
        llama_set_embeddings_nextn(model, true, /*masked*/ false);
        llama_set_embeddings_nextn(heads, true, /*masked*/ true);
        return made.release();
    } catch (const std::exception &) {
        return nullptr;
    }
}

void llamacli_heads_free(llamacli_heads * heads) {
    delete heads;
}

int32_t llamacli_heads_follow(llamacli_heads * heads, llama_seq_id sequence, const llama_token * tokens, int32_t n_tokens,
                              llama_pos position, int32_t output) {
    try {
        return n_tokens > 0 ? follow(*heads, sequence, tokens, n_tokens, position, output) : 0;
    } catch (const std::exception &) {
        return -2; // llama_decode's status for out of memory
    }
}

llama_pos llamacli_heads_position(const llamacli_heads * heads, llama_seq_id sequence) {
    return sequence >= 0 && static_cast<size_t>(sequence) < heads->sequences.size() ? heads->sequences[sequence].next : -1;
}

int32_t llamacli_heads_draft(llamacli_heads * heads, llamacli_lane * lane, int32_t max_steps, llamacli_choice * choices,
                             int32_t * n_steps) {
    *n_steps = 0;
    try {
        const llama_pos start  = lane->position;
        const int32_t   status = draft(*heads, *lane, max_steps, choices, n_steps);
        drop(*heads, lane->sequence, start); // they were evaluated with states that the heads made up
        return status;
    } catch (const std::exception &) {
        return -2;
    }
}

} // extern "C"
