// The heads of a model: see shim_heads.h. A head takes a token and the model's hidden state of the token before it; an EAGLE-3 head
// makes that state of those that three layers of the model get.
#include "shim_heads.h"

#include "llama-ext.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <utility>
#include <vector>

namespace {

constexpr int32_t NO_STATES = 1 << 10; // no status of llama_decode

struct Sequence {
    llama_pos          next = -1; // the position that can be drafted from
    std::vector<float> hidden;    // the state of the token before it
};

} // namespace

struct llamacli_heads {
    llama_context *       model;
    llama_context *       heads;
    size_t                width;  // of a state
    std::vector<int32_t>  layers; // of the model, for an EAGLE-3 head
    int32_t               most;   // tokens that its encoder takes at once
    llama_pos             shift;  // a token's position in the model's context minus that in the heads'
    std::vector<Sequence> sequences;
};

namespace {

// Evaluates tokens with their states. `position` is that in the model's context. The logits of the last one are kept if `output`.
int32_t evaluate(llamacli_heads & heads, llama_seq_id sequence, const llama_token * tokens, int32_t n_tokens, llama_pos position,
                 const float * states, bool output) {
    std::vector<llama_token>    ids(tokens, tokens + n_tokens);
    std::vector<llama_pos>      positions(n_tokens);
    std::vector<int32_t>        counts(n_tokens, 1);
    std::vector<llama_seq_id *> sequences(n_tokens, &sequence);
    std::vector<int8_t>         outputs(n_tokens, 0);
    for (int32_t i = 0; i < n_tokens; ++i) {
        positions[i] = position - heads.shift + i;
    }
    outputs.back() = output;
    return llama_decode(heads.heads, { n_tokens, ids.data(), const_cast<float *>(states), positions.data(), counts.data(),
                                       sequences.data(), outputs.data() });
}

// Drops what the heads hold from a position of the model's context on.
void drop(llamacli_heads & heads, llama_seq_id sequence, llama_pos from) {
    llama_memory_seq_rm(llama_get_memory(heads.heads), sequence, std::max(0, from - heads.shift), -1);
}

int32_t layers_of(llama_context * ctx) {
    return llama_model_n_layer(llama_get_model(ctx));
}

// What a layer of the model got for the tokens of its last batch; after the last layer, what it made of that.
const float * layer_states(llama_context * model, int32_t layer) {
    return layer < layers_of(model) ? llama_get_embeddings_layer_inp(model, layer) : llama_get_embeddings_nextn(model);
}

// Appends the states that an EAGLE-3 head makes for tokens of the model's last batch, from `first` on. Returns the status of
// llama_encode.
int32_t encode(llamacli_heads & heads, int32_t first, int32_t n_tokens, std::vector<float> & states) {
    const size_t               part = llama_model_n_embd(llama_get_model(heads.model));
    const size_t               row  = part * heads.layers.size();
    std::vector<float>         rows(row * std::min(heads.most, n_tokens));
    std::vector<const float *> layers;
    for (int32_t layer : heads.layers) {
        layers.push_back(layer_states(heads.model, layer));
    }
    for (int32_t done = 0; done < n_tokens; done += heads.most) {
        const int32_t       count = std::min(heads.most, n_tokens - done);
        std::vector<int8_t> outputs(count, 1);
        for (int32_t i = 0; i < count; ++i) {
            for (size_t k = 0; k < layers.size(); ++k) {
                std::memcpy(&rows[i * row + k * part], layers[k] + (first + done + i) * part, part * sizeof(float));
            }
        }
        const int32_t status = llama_encode(
            heads.heads, { count, nullptr, rows.data(), nullptr, nullptr, nullptr, outputs.data() });
        if (status != 0) {
            return status;
        }
        const float * made = llama_get_embeddings_nextn(heads.heads);
        states.insert(states.end(), made, made + count * heads.width);
    }
    return 0;
}

// Appends the states of tokens of the model's last batch, from `first` on. Returns a status as llama_decode, or NO_STATES.
int32_t append_states(llamacli_heads & heads, int32_t first, int32_t n_tokens, std::vector<float> & states) {
    if (!heads.layers.empty()) {
        return encode(heads, first, n_tokens, states);
    }
    for (int32_t i = 0; i < n_tokens; ++i) {
        const float * row = llama_get_embeddings_nextn_ith(heads.model, first + i);
        if (!row) {
            return NO_STATES;
        }
        states.insert(states.end(), row, row + heads.width);
    }
    return 0;
}

// Evaluates tokens in batches that the context of the heads takes. states has a row for each of them.
int32_t read(llamacli_heads & heads, llama_seq_id sequence, const llama_token * tokens, int32_t n_tokens, llama_pos position,
             const float * states) {
    const int32_t most = static_cast<int32_t>(llama_n_batch(heads.heads));
    for (int32_t done = 0; done < n_tokens;) {
        const int32_t count  = std::min(most, n_tokens - done);
        const int32_t status = evaluate(heads, sequence, tokens + done, count, position + done, states + done * heads.width, false);
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
    const bool         is_known = sequence.next == position; // the state of the token before the first
    const size_t       width    = heads.width;
    std::vector<float> states(width, 0.0f);
    states.reserve((n_tokens + 1) * width);
    if (is_known) {
        states = sequence.hidden;
    }
    sequence.next = -1; // until all went well
    int32_t status = append_states(heads, output, n_tokens, states);
    if (status == 0) {
        // Without the state before it, the first token is left out, unless there is nothing before it or it is the end that changed:
        // MTP layers then get no state, and an EAGLE-3 head keeps what it has at that place.
        const int32_t skipped = is_known || (goes_on && heads.shift == 0) ? 0 : 1;
        drop(heads, id, goes_on ? position + (is_known ? 0 : heads.shift) : 0);
        status = read(heads, id, tokens + skipped, n_tokens - skipped, position + skipped, states.data() + skipped * width);
    }
    if (status != 0) {
        drop(heads, id, 0);
        return status == NO_STATES ? 0 : status;
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
        const int32_t status = evaluate(heads, lane.sequence, &lane.token, 1, lane.position, hidden.data(), true);
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

llamacli_heads * llamacli_heads_new(llama_context * model, llama_context * heads, int32_t n_sequences, int32_t n_outputs) {
    try {
        const llama_model *  own    = llama_get_model(heads);
        const int32_t *      ids    = llama_model_target_layer_ids(own);
        std::vector<int32_t> layers(ids, ids + llama_model_target_layer_ids_n(own));
        const int32_t        most   = std::min(n_outputs, static_cast<int32_t>(llama_n_ubatch(heads)));
        const llama_pos      shift  = layers.empty() ? 0 : 1;
        const size_t         width  = layers.empty() ? llama_model_n_embd_out(own) : llama_model_n_embd(own);
        const bool           last   = std::find(layers.begin(), layers.end(), layers_of(model)) != layers.end();
        for (int32_t layer : layers) {
            if (layer != layers_of(model)) {
                llama_set_embeddings_layer_inp(model, layer, true);
            }
        }
        if (layers.empty() || last) {
            llama_set_embeddings_nextn(model, true, /*masked*/ false);
        }
        llama_set_embeddings_nextn(heads, true, /*masked*/ true);
        return new llamacli_heads{ model, heads, width, std::move(layers), most, shift, std::vector<Sequence>(n_sequences) };
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
