// The products of weights in floating point with activations in single precision, for one instruction set: included after its words.
//
// A result has sixteen sums, of every sixteenth product, each a chain of fused multiply-adds along the row, and one tree that adds
// them up, whatever its neighbours are and however wide a register is. So its bits depend neither on the number of columns nor on
// threads nor on instructions. Activations are not rounded, as ggml does it to the type of the weights.
#pragma once

#include "ggml.h"
#include "kernels.h"

namespace {

constexpr int TILE = 16; // rows that are converted together

// Where the results of a row belong in some columns.
inline void find_results(const llamacli::product_task & task, int64_t row, int64_t column, int count, float ** results) {
    for (int c = 0; c < count; c++) {
        results[c] = task.to + (task.places ? task.places[column + c] : column + c) * task.to_stride + row;
    }
}

// The types: how sixteen weights become numbers in single precision.
struct f32 {
    static constexpr int bytes = 4;
    static sixteen load(const uint8_t * from) { return load_sixteen(reinterpret_cast<const float *>(from)); }
};

struct f16 {
    static constexpr int bytes = 2;
    static sixteen load(const uint8_t * from) { return sixteen_halves(reinterpret_cast<const uint16_t *>(from)); }
};

struct bf16 {
    static constexpr int bytes = 2;
    static sixteen load(const uint8_t * from) { return sixteen_upper_halves(reinterpret_cast<const uint16_t *>(from)); }
};

// Some rows with the C columns of a panel, which lie block after block, column after column. Rows behind the last repeat it.
template <class W, int C>
void multiply_rows(const uint8_t * rows, int64_t stride, int64_t blocks, const float * panel, float * const * to, int count) {
    sixteen acc[C][FLOAT_ROWS];
    const uint8_t * row[FLOAT_ROWS];
    for (int r = 0; r < FLOAT_ROWS; r++) {
        row[r] = rows + (r < count ? r : count - 1) * stride;
        for (int c = 0; c < C; c++) {
            acc[c][r] = no_sums();
        }
    }
    for (int64_t b = 0; b < blocks; b++) {
        for (int half = 0; half < 2; half++) {
            sixteen w[FLOAT_ROWS];
#pragma GCC unroll 4
            for (int r = 0; r < FLOAT_ROWS; r++) {
                w[r] = W::load(row[r] + (2 * b + half) * 16 * W::bytes);
            }
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) {
                const sixteen x = load_sixteen(panel + (b * C + c) * 32 + half * 16);
#pragma GCC unroll 4
                for (int r = 0; r < FLOAT_ROWS; r++) {
                    add_products(acc[c][r], w[r], x);
                }
            }
        }
    }
    for (int c = 0; c < C; c++) {
        float sums[FLOAT_ROWS];
        add_up(acc[c], sums);
        for (int r = 0; r < count; r++) {
            to[c][r] = sums[r];
        }
    }
}

template <class W> struct float_columns {
    using product = void (*)(const uint8_t *, int64_t, int64_t, const float *, float * const *, int);
#if LLAMACLI_COLUMNS == 16
    static constexpr product of[FLOAT_COLUMNS] = {multiply_rows<W, 1>, multiply_rows<W, 2>, multiply_rows<W, 3>,
                                                  multiply_rows<W, 4>, multiply_rows<W, 5>, multiply_rows<W, 6>};
#else
    static constexpr product of[FLOAT_COLUMNS] = {multiply_rows<W, 1>, multiply_rows<W, 2>, multiply_rows<W, 3>};
#endif
};

template <class W>
void compute_floats(const llamacli::product_task & task, int64_t from, int64_t to, int64_t first, int64_t last, uint8_t * scratch) {
    // for several panels rows are converted once
    const bool converts = W::bytes < 4 && last - first > 1;
    const int64_t width = task.blocks * 32;
    for (int64_t tile = from; tile < to; tile += TILE) {
        const uint8_t * rows = task.weights + tile * task.row_stride;
        const int count = static_cast<int>(to - tile < TILE ? to - tile : TILE);
        for (int r = 0; converts && r < count; r++) {
            for (int64_t i = 0; i < width; i += 16) {
                store_sixteen(reinterpret_cast<float *>(scratch) + r * width + i, W::load(rows + r * task.row_stride + i * W::bytes));
            }
        }
        const uint8_t * source = converts ? scratch : rows;
        const int64_t stride = converts ? width * 4 : task.row_stride;
        for (int64_t p = first; p < last; p++) {
            const int64_t column = p * FLOAT_COLUMNS;
            const int columns = static_cast<int>(task.columns - column < FLOAT_COLUMNS ? task.columns - column : FLOAT_COLUMNS);
            const auto * panel = reinterpret_cast<const float *>(task.panels) + column * width;
            const auto product = converts ? float_columns<f32>::of[columns - 1] : float_columns<W>::of[columns - 1];
            for (int r = 0; r < count; r += FLOAT_ROWS) {
                float * results[FLOAT_COLUMNS];
                find_results(task, tile + r, column, columns, results);
                product(source + r * stride, stride, task.blocks, panel, results, count - r < FLOAT_ROWS ? count - r : FLOAT_ROWS);
            }
        }
    }
}

inline void copy_floats(const float * column, int64_t from, int64_t to, uint8_t * panel, int place, int width) {
    for (int64_t b = from; b < to; b++) {
        std::memcpy(panel + (b * width + place) * 128, column + b * 32, 128);
    }
}

template <class W> constexpr llamacli::product_kernel float_kernel = {TILE, FLOAT_COLUMNS, 128, copy_floats, compute_floats<W>};

} // namespace
