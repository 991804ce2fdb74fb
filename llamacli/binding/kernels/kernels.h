// The products of our own: what the hook into ggml's CPU backend calls, for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace llamacli {

// A product `to = weights x columns` of one matrix: rows of quantized weights, and panels of quantized activations.
struct product_task {
    const uint8_t * weights;
    int64_t row_stride; // in bytes
    int64_t rows;
    int64_t blocks;     // of 32 in a row
    const uint8_t * panels;
    int64_t columns;
    float * to;         // column after column
    int64_t to_stride;  // in floats
};

// What one instruction set does with one type of weights.
struct product_kernel {
    int rows;    // that are computed together
    int columns; // of a full panel

    // Quantize the blocks [from, to) of a column into its panel, which has `width` columns.
    void (*quantize)(const float * column, int64_t from, int64_t to, uint8_t * panel, int place, int width);

    // Compute the rows [from, to), of which `from` is a multiple of `rows`, in the columns of the panels [first, last).
    void (*compute)(const product_task & task, int64_t from, int64_t to, int64_t first, int64_t last, uint8_t * scratch);
};

// Bytes of the panels of so many columns of so many blocks, and of the scratch memory of a thread.
constexpr size_t panel_bytes(int64_t columns, int64_t blocks) { return static_cast<size_t>(columns * blocks * 40); }
constexpr size_t scratch_bytes(int64_t blocks, int64_t row_bytes) { return static_cast<size_t>(blocks * 640 + 16 * row_bytes + 64); }

// The kernel for a type of ggml's, or null: there is none for it.
const product_kernel * product_avx512(int type);
const product_kernel * product_avx2(int type);

} // namespace llamacli
