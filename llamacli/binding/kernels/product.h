// The products of quantized weights with activations, for one instruction set: included after its words and weights.h.
//
// Activations are quantized to 8 bits in blocks of 32 with a scale in 32 bits, and lie in panels of up to COLUMNS columns: what
// a row of weights meets in one block lies together. A result is one chain of fused multiply-adds over the blocks of its row,
// from exact sums of integers, whatever its neighbours are. So its bits depend neither on the number of columns nor on threads.
#pragma once

#include "floats.h"
#include "ggml.h"
#include "kernels.h"

#include <cfloat>
#include <math.h>

namespace {

// The layout of a block of C columns: float scale[C], then a number[C] that starts the sums or that minima are multiplied with,
// another[C] for the second halves of types that have scales or minima for halves, then int8_t q[C][BLOCK].
template <class W> constexpr bool has_halves = W::shape == form::in_halves || W::shape == form::with_two_minima;
template <class W> constexpr int block_bytes = (has_halves<W> ? 12 : 8) + BLOCK;

template <class W, int FROM, int TO> inline ints sum_of_products(ints const (&four)[FOURS], int32_t start, const int32_t * x) {
    sums s = sums_from(start);
#pragma GCC unroll 8
    for (int i = FROM; i < TO; i++) {
        dot<W::bits>(s, four[i], x[i]);
    }
    return finish(s);
}

template <class W, int C> inline void add_block(floats (&acc)[C], const unpacked & w, const uint8_t * panel) {
    const auto * scale = reinterpret_cast<const float *>(panel);
    const auto * sum = reinterpret_cast<const float *>(panel) + C;
    const auto * start = reinterpret_cast<const int32_t *>(panel) + C;
    const auto * fours = reinterpret_cast<const int32_t *>(panel + C * (block_bytes<W> - BLOCK));
#pragma GCC unroll 16
    for (int c = 0; c < C; c++) {
        const int32_t * x = fours + c * FOURS;
        floats value;
        if constexpr (W::shape == form::in_halves) {
            const ints low = sum_of_products<W, 0, FOURS / 2>(w.four, start[c], x);
            const ints high = sum_of_products<W, FOURS / 2, FOURS>(w.four, start[C + c], x);
            value = fma(to_floats(high), w.minimum, mul(to_floats(low), w.scale));
        } else if constexpr (W::shape == form::with_minimum) {
            value = mul(to_floats(sum_of_products<W, 0, FOURS>(w.four, 0, x)), w.scale);
            value = fma(w.minimum, every(sum[c]), value);
        } else if constexpr (W::shape == form::with_two_minima) {
            value = mul(to_floats(sum_of_products<W, 0, FOURS>(w.four, 0, x)), w.scale);
            value = fma(w.second, every(sum[C + c]), fma(w.minimum, every(sum[c]), value));
        } else {
            value = mul(to_floats(sum_of_products<W, 0, FOURS>(w.four, start[c], x)), w.scale);
        }
        acc[c] = fma(value, every(scale[c]), acc[c]);
    }
}

template <int C> inline void store_columns(const floats (&acc)[C], float * const * to, int rows) {
    for (int c = 0; c < C; c++) {
        store(to[c], acc[c], rows);
    }
}

// Rows straight from the file: for few columns, where every weight is used once. Memory is then what limits, and it is read in
// the order of addresses: rows jump, so that the processor's own prefetching would come too late.
template <class W, int C>
void product_direct(const uint8_t * rows, int64_t stride, int64_t blocks, const uint8_t * panel, float * const * to, int count) {
    floats acc[C];
    for (floats & a : acc) {
        a = zero_floats();
    }
    constexpr int64_t step = int64_t(ROWS) * W::bytes;
    const uint8_t * next = rows + ROWS * stride; // if there are more rows; an address without memory does no harm
    for (int64_t b = 0; b < blocks; b += W::blocks, rows += W::bytes, next += step) {
        for (int64_t i = 0; i < step; i += 64) {
            _mm_prefetch(reinterpret_cast<const char *>(next + i), _MM_HINT_T0);
        }
        unpacked w[W::blocks];
        W::unpack(rows, stride, w);
        for (int i = 0; i < W::blocks; i++, panel += C * block_bytes<W>) {
            add_block<W, C>(acc, w[i], panel);
        }
    }
    store_columns(acc, to, count);
}

// Rows that are unpacked already: for many columns.
template <class W, int C>
void product_tile(const unpacked * tile, int64_t blocks, const uint8_t * panel, float * const * to, int count) {
    floats acc[C];
    for (floats & a : acc) {
        a = zero_floats();
    }
    for (int64_t b = 0; b < blocks; b++) {
        add_block<W, C>(acc, tile[b], panel + b * C * block_bytes<W>);
    }
    store_columns(acc, to, count);
}

// Few enough columns that unpacking into memory does not pay.
constexpr int FEW = 4;

template <class W> struct columns_of {
    using direct = void (*)(const uint8_t *, int64_t, int64_t, const uint8_t *, float * const *, int);
    using tile = void (*)(const unpacked *, int64_t, const uint8_t *, float * const *, int);
    static_assert(COLUMNS == 4 || COLUMNS == 16, "the tables below have an entry for each number of columns");
    static constexpr direct directly[FEW] = {product_direct<W, 1>, product_direct<W, 2>, product_direct<W, 3>, product_direct<W, 4>};
#define LLAMACLI_FOUR(N) product_tile<W, N>, product_tile<W, N + 1>, product_tile<W, N + 2>, product_tile<W, N + 3>
#if LLAMACLI_COLUMNS == 16
    static constexpr tile tiled[COLUMNS] = {LLAMACLI_FOUR(1), LLAMACLI_FOUR(5), LLAMACLI_FOUR(9), LLAMACLI_FOUR(13)};
#else
    static constexpr tile tiled[COLUMNS] = {LLAMACLI_FOUR(1)};
#endif
#undef LLAMACLI_FOUR
};

template <class W>
void compute(const llamacli::product_task & task, int64_t from, int64_t to, int64_t first, int64_t last, uint8_t * scratch) {
    auto * tile = reinterpret_cast<unpacked *>(scratch);
    uint8_t * copies = scratch + task.blocks * static_cast<int64_t>(sizeof(unpacked));
    for (int64_t row = from; row < to; row += ROWS) {
        const uint8_t * rows = task.weights + row * task.row_stride;
        int64_t stride = task.row_stride;
        const int count = static_cast<int>(task.rows - row < ROWS ? task.rows - row : ROWS);
        if (count < ROWS) { // nothing may be read behind the last row
            stride = task.blocks / W::blocks * W::bytes;
            std::memset(copies, 0, static_cast<size_t>(ROWS * stride));
            for (int i = 0; i < count; i++) {
                std::memcpy(copies + i * stride, rows + i * task.row_stride, static_cast<size_t>(stride));
            }
            rows = copies;
        }
        const bool few = task.columns <= FEW;
        for (int64_t b = 0; !few && b < task.blocks; b += W::blocks) {
            W::unpack(rows + b / W::blocks * W::bytes, stride, tile + b);
        }
        for (int64_t p = first; p < last; p++) {
            const int64_t column = p * COLUMNS;
            const int width = static_cast<int>(task.columns - column < COLUMNS ? task.columns - column : COLUMNS);
            const uint8_t * panel = task.panels + column * task.blocks * block_bytes<W>;
            float * results[COLUMNS];
            find_results(task, row, column, width, results);
            if (few) {
                columns_of<W>::directly[width - 1](rows, stride, task.blocks, panel, results, count);
            } else {
                columns_of<W>::tiled[width - 1](tile, task.blocks, panel, results, count);
            }
        }
    }
}

// A block with an infinity or a NaN makes a NaN of every result of its column. Magnitudes below 127 / FLT_MAX become 0. Scales stay
// in single precision, where ggml rounds them and the sums to halves.
template <class W> void quantize(const float * column, int64_t from, int64_t to, uint8_t * panel, int place, int width) {
    for (int64_t b = from; b < to; b++) {
        uint8_t * block = panel + b * width * block_bytes<W>;
        int8_t * bytes = reinterpret_cast<int8_t *>(block + width * (block_bytes<W> - BLOCK) + place * BLOCK);
        const float largest = largest_magnitude(column + b * BLOCK), factor = 127.0f / largest;
        float scale = 0.0f;
        int32_t sum[2] = {0, 0}; // of the halves
        if (largest <= FLT_MAX && factor <= FLT_MAX) {
            scale = largest / 127.0f;
            round_to_bytes(column + b * BLOCK, factor, bytes, sum);
        } else {
            scale = largest <= FLT_MAX ? 0.0f : NAN;
            std::memset(bytes, 0, BLOCK);
        }
        std::memcpy(block + 4 * place, &scale, 4);
        if constexpr (W::shape == form::with_minimum) {
            const float all = static_cast<float>(sum[0] + sum[1]);
            std::memcpy(block + 4 * (width + place), &all, 4);
        } else if constexpr (W::shape == form::with_two_minima) {
            const float halves[2] = {static_cast<float>(sum[0]), static_cast<float>(sum[1])};
            std::memcpy(block + 4 * (width + place), halves, 4);
            std::memcpy(block + 4 * (2 * width + place), halves + 1, 4);
        } else if constexpr (W::shape == form::in_halves) {
            const int32_t start[2] = {-W::offset * sum[0], -W::offset * sum[1]};
            std::memcpy(block + 4 * (width + place), start, 4);
            std::memcpy(block + 4 * (2 * width + place), start + 1, 4);
        } else {
            const int32_t start = -W::offset * (sum[0] + sum[1]);
            std::memcpy(block + 4 * (width + place), &start, 4);
        }
    }
}

template <class W> constexpr llamacli::product_kernel kernel = {ROWS, COLUMNS, block_bytes<W>, quantize<W>, compute<W>};

inline const llamacli::product_kernel * find_kernel(int type) {
    static_assert(sizeof(unpacked) <= 704, "scratch_bytes counts so many");
    switch (type) {
        case GGML_TYPE_Q4_0: return &kernel<q4_0>;
        case GGML_TYPE_Q4_1: return &kernel<q4_1>;
        case GGML_TYPE_Q5_0: return &kernel<q5_0>;
        case GGML_TYPE_Q5_1: return &kernel<q5_1>;
        case GGML_TYPE_Q8_0: return &kernel<q8_0>;
        case GGML_TYPE_Q2_K: return &kernel<q2_k>;
        case GGML_TYPE_Q3_K: return &kernel<q3_k>;
        case GGML_TYPE_Q4_K: return &kernel<q4_k>;
        case GGML_TYPE_Q5_K: return &kernel<q5_k>;
        case GGML_TYPE_Q6_K: return &kernel<q6_k>;
        case GGML_TYPE_IQ2_XXS: return &kernel<iq2_xxs>;
        case GGML_TYPE_IQ2_XS: return &kernel<iq2_xs>;
        case GGML_TYPE_IQ2_S: return &kernel<iq2_s>;
        case GGML_TYPE_IQ3_S: return &kernel<iq3_s>;
        case GGML_TYPE_IQ3_XXS: return &kernel<iq3_xxs>;
        case GGML_TYPE_IQ4_NL: return &kernel<iq4_nl>;
        case GGML_TYPE_IQ4_XS: return &kernel<iq4_xs>;
        case GGML_TYPE_MXFP4: return &kernel<mxfp4>;
        case GGML_TYPE_F32: return &float_kernel<f32>;
        case GGML_TYPE_F16: return &float_kernel<f16>;
        case GGML_TYPE_BF16: return &float_kernel<bf16>;
        default: return nullptr;
    }
}

} // namespace
