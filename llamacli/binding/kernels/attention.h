// Attention (softmax of scores, times values) for one instruction set: included after its words.
//
// Keys are taken in tiles of 64 and chunks of 512, counted from the beginning of the cache. A chunk has a running maximum, a sum
// and an output of its own, and chunks are merged in their order. So the bits of a row depend neither on the rows that are
// computed beside it, nor on threads, nor on masked keys behind its last one. Everything is in single precision.
#pragma once

#include "ggml.h"
#include "kernels.h"

#include <math.h>

namespace {

constexpr int KEYS = 64;
constexpr int GROUP = 6;          // rows that are multiplied together
constexpr int STEP = WIDE * ROWS; // floats of the registers side by side

constexpr int64_t padded(int64_t width) { return (width + STEP - 1) / STEP * STEP; }

// e to the power of x, for x up to 0, with an error of about one unit in the last place (the polynomial is that of Cephes' expf).
inline floats exponential(floats x) {
    const floats least = every(-87.3f);
    const floats clamped = larger(least, x); // a NaN stays one
    const floats n = rounded(mul(clamped, every(1.44269504f)));
    floats r = fma(n, every(-0.693359375f), clamped);
    r = fma(n, every(2.12194440e-4f), r);
    floats p = fma(every(1.9875691500e-4f), r, every(1.3981999507e-3f));
    p = fma(p, r, every(8.3334519073e-3f));
    p = fma(p, r, every(4.1665795894e-2f));
    p = fma(p, r, every(1.6666665459e-1f));
    p = fma(p, r, every(5.0000001201e-1f));
    p = add(fma(p, mul(r, r), r), every(1.0f));
    return zero_below(x, least, mul(p, power_of_two(n)));
}

inline float exponential(float x) { return sum_of(exponential(every(x))) / ROWS; }

// The scores, or the outputs, of up to GROUP rows: to[r] (+)= factors[r] x matrix, whose rows have `width` floats.
template <int R> inline void multiply_rows(const float * const * factors, int64_t count, const float * matrix, int64_t width,
                                           float * const * to, const float * kept) {
    for (int64_t at = 0; at < width; at += STEP) {
        floats sum[R][WIDE];
        for (int r = 0; r < R; r++) {
            for (int v = 0; v < WIDE; v++) {
                sum[r][v] = kept ? mul(load(to[r] + at + v * ROWS), every(kept[r])) : zero_floats();
            }
        }
        for (int64_t i = 0; i < count; i++) {
            floats line[WIDE];
            for (int v = 0; v < WIDE; v++) {
                line[v] = load(matrix + i * width + at + v * ROWS);
            }
#pragma GCC unroll 6
            for (int r = 0; r < R; r++) {
                const floats factor = every(factors[r][i]);
#pragma GCC unroll 4
                for (int v = 0; v < WIDE; v++) {
                    sum[r][v] = fma(factor, line[v], sum[r][v]);
                }
            }
        }
        for (int r = 0; r < R; r++) {
            for (int v = 0; v < WIDE; v++) {
                store(to[r] + at + v * ROWS, sum[r][v]);
            }
        }
    }
}

inline void multiply_group(int rows, const float * const * factors, int64_t count, const float * matrix, int64_t width,
                           float * const * to, const float * kept) {
    switch (rows) {
        case 1: return multiply_rows<1>(factors, count, matrix, width, to, kept);
        case 2: return multiply_rows<2>(factors, count, matrix, width, to, kept);
        case 3: return multiply_rows<3>(factors, count, matrix, width, to, kept);
        case 4: return multiply_rows<4>(factors, count, matrix, width, to, kept);
        case 5: return multiply_rows<5>(factors, count, matrix, width, to, kept);
        default: return multiply_rows<6>(factors, count, matrix, width, to, kept);
    }
}

// The shapes and parameters of one operation of ggml's.
struct attention {
    const ggml_tensor *q, *k, *v, *mask, *sinks;
    int64_t width, value_width, keys, share; // `share` heads have the same keys and values
    float scale, bias, cap;

    explicit attention(const ggml_tensor * op)
        : q(op->src[0]), k(op->src[1]), v(op->src[2]), mask(op->src[3]), sinks(op->src[4]), width(k->ne[0]), value_width(v->ne[0]),
          keys(k->ne[1]), share(q->ne[2] / k->ne[2]) {
        std::memcpy(&scale, op->op_params, 4);
        std::memcpy(&bias, op->op_params + 1, 4);
        std::memcpy(&cap, op->op_params + 2, 4);
    }

    float slope(int64_t head) const {
        if (bias <= 0.0f) {
            return 1.0f;
        }
        const int64_t whole = int64_t(1) << static_cast<int>(floorf(log2f(static_cast<float>(q->ne[2]))));
        return head < whole ? powf(2.0f, -bias / whole * (head + 1)) : powf(2.0f, -bias / 2 / whole * (2 * (head - whole) + 1));
    }
};

// The memory of a thread.
struct attention_scratch {
    float *keys, *values, *line, *scores, *outputs;

    attention_scratch(const attention & a, uint8_t * memory) {
        keys = reinterpret_cast<float *>(memory);
        values = keys + a.width * KEYS;
        line = values + KEYS * padded(a.value_width);
        scores = line + ROWS * a.width;
        outputs = scores + llamacli::ATTENTION_ROWS * KEYS;
    }

    static size_t bytes(int64_t width, int64_t value_width) {
        const int64_t outputs = llamacli::ATTENTION_ROWS * (KEYS + padded(value_width));
        return sizeof(float) * static_cast<size_t>(width * (KEYS + ROWS) + KEYS * padded(value_width) + outputs);
    }
};

inline void to_floats_from(const ggml_tensor * tensor, const char * row, int64_t width, float * to) {
    if (tensor->type == GGML_TYPE_F32) {
        std::memcpy(to, row, static_cast<size_t>(width) * sizeof(float));
        return;
    }
    int64_t i = 0;
    for (; i + ROWS <= width; i += ROWS) {
        store(to + i, load_halves(reinterpret_cast<const uint16_t *>(row) + i));
    }
    if (i < width) {
        uint16_t rest[ROWS] = {};
        float values[ROWS];
        std::memcpy(rest, row + 2 * i, static_cast<size_t>(width - i) * 2);
        store(values, load_halves(rest));
        std::memcpy(to + i, values, static_cast<size_t>(width - i) * sizeof(float));
    }
}

inline const char * row_of(const ggml_tensor * t, int64_t i1, int64_t i2, int64_t i3) {
    return static_cast<const char *>(t->data) + i1 * t->nb[1] + i2 * t->nb[2] + i3 * t->nb[3];
}

// A tile of keys becomes columns, a tile of values floats; what is missing in the last tile is 0.
inline void load_tile(const attention & a, int64_t first, int count, int64_t head, int64_t batch, const attention_scratch & s) {
    for (int key = 0; key < KEYS; key += ROWS) {
        for (int r = 0; r < ROWS; r++) {
            if (key + r < count) {
                to_floats_from(a.k, row_of(a.k, first + key + r, head, batch), a.width, s.line + r * a.width);
            } else {
                std::memset(s.line + r * a.width, 0, static_cast<size_t>(a.width) * sizeof(float));
            }
        }
        for (int64_t d = 0; d < a.width; d += 4) {
            ints four[4];
            transpose(reinterpret_cast<const uint8_t *>(s.line + d), a.width * 4, four);
            for (int i = 0; i < 4; i++) {
                store(s.keys + (d + i) * KEYS + key, four[i]);
            }
        }
    }
    const int64_t width = padded(a.value_width);
    for (int key = 0; key < count; key++) {
        to_floats_from(a.v, row_of(a.v, first + key, head, batch), a.value_width, s.values + key * width);
        std::memset(s.values + key * width + a.value_width, 0, static_cast<size_t>(width - a.value_width) * sizeof(float));
    }
}

// One row: a query of one head.
struct attention_row {
    const float * query;
    const uint16_t * mask; // or null
    float slope;
    float largest; // of the chunk
    float total;
};

inline bool is_seen(const uint16_t * mask, int count) {
    constexpr uint16_t hidden = 0xfc00; // minus infinity
    int i = 0;
    for (; i + 32 <= count; i += 32) {
        if (!are_all(mask + i, hidden)) {
            return true;
        }
    }
    for (; i < count; i++) {
        if (mask[i] != hidden) {
            return true;
        }
    }
    return false;
}

// Turn the scores of a row in one tile into weights relative to the row's largest so far; return what remains of the earlier ones.
inline float weigh(const attention & a, attention_row & row, const uint16_t * mask, int count, float * scores) {
    if (a.cap != 0.0f) {
        for (int i = 0; i < count; i++) {
            scores[i] = a.cap * tanhf(scores[i] * (a.scale / a.cap));
        }
    }
    const floats factor = every(a.cap != 0.0f ? 1.0f : a.scale);
    uint16_t hidden[KEYS];
    if (count < KEYS) { // keys behind the last are masked
        for (int i = 0; i < KEYS; i++) {
            hidden[i] = i >= count ? 0xfc00 : mask ? mask[i] : 0;
        }
        mask = hidden;
    }
    floats largest = every(-INFINITY);
    for (int i = 0; i < KEYS; i += ROWS) {
        floats value = mul(load(scores + i), factor);
        value = mask ? fma(load_halves(mask + i), every(row.slope), value) : value;
        largest = larger(largest, value);
        store(scores + i, value);
    }
    const float before = row.largest;
    row.largest = fmaxf(before, largest_of(largest));
    if (row.largest == -INFINITY) { // nothing to be seen yet, or nothing that is a number
        for (int i = 0; i < KEYS; i++) {
            if (scores[i] != scores[i]) {
                row.largest = 0.0f;
                row.total = NAN;
            }
            scores[i] = 0.0f;
        }
        return 1.0f;
    }
    floats sum = zero_floats();
    for (int i = 0; i < KEYS; i += ROWS) {
        const floats weight = exponential(subtract(load(scores + i), every(row.largest)));
        sum = add(sum, weight);
        store(scores + i, weight);
    }
    const float remains = exponential(before - row.largest);
    row.total = fmaf(row.total, remains, sum_of(sum));
    return remains;
}

inline void attend_tile(const attention & a, int64_t first, int count, int64_t head, int64_t batch, attention_row * rows, int n,
                        const attention_scratch & s) {
    int seen[llamacli::ATTENTION_ROWS], n_seen = 0;
    bool is_here = true;
    for (int r = 0; r < n; r++) {
        if (r == 0 || rows[r].mask != rows[r - 1].mask) { // heads share the mask of a query
            is_here = !rows[r].mask || is_seen(rows[r].mask + first, count);
        }
        if (is_here) {
            seen[n_seen++] = r;
        }
    }
    if (n_seen == 0) {
        return;
    }
    load_tile(a, first, count, head, batch, s);
    for (int at = 0; at < n_seen; at += GROUP) {
        const int part = n_seen - at < GROUP ? n_seen - at : GROUP;
        const float *queries[GROUP], *weights[GROUP];
        float *scores[GROUP], *outputs[GROUP], remains[GROUP];
        for (int i = 0; i < part; i++) {
            queries[i] = rows[seen[at + i]].query;
            weights[i] = scores[i] = s.scores + (at + i) * KEYS;
            outputs[i] = s.outputs + seen[at + i] * padded(a.value_width);
        }
        multiply_group(part, queries, a.width, s.keys, KEYS, scores, nullptr);
        for (int i = 0; i < part; i++) {
            attention_row & row = rows[seen[at + i]];
            remains[i] = weigh(a, row, row.mask ? row.mask + first : nullptr, count, scores[i]);
        }
        multiply_group(part, weights, count, s.values, padded(a.value_width), outputs, remains);
    }
}

// Add a part to a row's result: {largest, total, output}. Without a key to be seen there is nothing to add.
inline void merge(float * result, float largest, float total, const float * output, int64_t width) {
    if (largest == -INFINITY) {
        return;
    }
    const float most = fmaxf(result[0], largest);
    const float mine = exponential(result[0] - most), others = exponential(largest - most);
    result[0] = most;
    result[1] = fmaf(result[1], mine, total * others);
    for (int64_t i = 0; i < width; i++) {
        result[2 + i] = fmaf(result[2 + i], mine, output[i] * others);
    }
}

size_t attention_scratch_bytes(int64_t width, int64_t value_width) { return attention_scratch::bytes(width, value_width); }

// Rows [from, to) of the heads that share the keys of `head`, numbered query by query, in one chunk of keys.
void attend(const ggml_tensor * op, int64_t batch, int64_t head, int64_t from, int64_t to, int64_t chunk, float * parts,
            int64_t parts_stride, uint8_t * scratch) {
    const attention a(op);
    const attention_scratch s(a, scratch);
    attention_row rows[llamacli::ATTENTION_ROWS];
    const int n = static_cast<int>(to - from);
    for (int r = 0; r < n; r++) {
        const int64_t query = (from + r) / a.share, one = head * a.share + (from + r) % a.share;
        const char * mask = a.mask ? row_of(a.mask, query, one % a.mask->ne[2], batch % a.mask->ne[3]) : nullptr;
        rows[r] = {reinterpret_cast<const float *>(row_of(a.q, query, one, batch)), reinterpret_cast<const uint16_t *>(mask),
                   a.slope(one), -INFINITY, 0.0f};
    }
    std::memset(s.outputs, 0, static_cast<size_t>(n * padded(a.value_width)) * sizeof(float));
    const int64_t kv_batch = batch / (a.q->ne[3] / a.k->ne[3]), end = (chunk + 1) * llamacli::ATTENTION_CHUNK;
    for (int64_t first = chunk * llamacli::ATTENTION_CHUNK; first < end && first < a.keys; first += KEYS) {
        attend_tile(a, first, static_cast<int>(a.keys - first < KEYS ? a.keys - first : KEYS), head, kv_batch, rows, n, s);
    }
    for (int r = 0; r < n; r++) {
        float * part = parts + r * parts_stride;
        part[0] = rows[r].largest;
        part[1] = rows[r].total;
        std::memcpy(part + 2, s.outputs + r * padded(a.value_width), static_cast<size_t>(a.value_width) * sizeof(float));
    }
}

// The result of one row: its parts of all chunks in their order, and the head's sink.
void merge_parts(const ggml_tensor * op, int64_t batch, int64_t query, int64_t head, float * parts, int64_t stride, int64_t chunks) {
    const attention a(op);
    for (int64_t c = 1; c < chunks; c++) {
        float * part = parts + c * stride;
        merge(parts, part[0], part[1], part + 2, a.value_width);
    }
    if (a.sinks) {
        const float sink = static_cast<const float *>(a.sinks->data)[head], most = fmaxf(parts[0], sink);
        const float remains = exponential(parts[0] - most);
        parts[1] = fmaf(parts[1], remains, exponential(sink - most));
        for (int64_t i = 0; i < a.value_width; i++) {
            parts[2 + i] *= remains;
        }
    }
    const float inverse = parts[1] == 0.0f ? 0.0f : 1.0f / parts[1];
    auto * to = reinterpret_cast<float *>(static_cast<char *>(op->data) + ((batch * op->ne[2] + query) * op->ne[1] + head) * op->nb[1]);
    for (int64_t i = 0; i < a.value_width; i++) {
        to[i] = parts[2 + i] * inverse;
    }
}

constexpr llamacli::attention_kernel flash_attention = {attention_scratch_bytes, attend, merge_parts};

} // namespace
