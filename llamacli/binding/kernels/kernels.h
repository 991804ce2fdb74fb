// The products of our own: what the hook into ggml's CPU backend calls, for each instruction set.
#pragma once

#include "ggml.h"

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
    const int32_t * places; // where the results of each column belong, counted in columns; null: in order
};

// What one instruction set does with one type of weights.
struct product_kernel {
    int rows;    // that are computed together
    int columns; // of a full panel
    int bytes;   // of a block of one column in a panel

    // Quantize the blocks [from, to) of a column into its panel, which has `width` columns.
    void (*quantize)(const float * column, int64_t from, int64_t to, uint8_t * panel, int place, int width);

    // Compute the rows [from, to), of which `from` is a multiple of `rows`, in the columns of the panels [first, last).
    void (*compute)(const product_task & task, int64_t from, int64_t to, int64_t first, int64_t last, uint8_t * scratch);
};

// Bytes of the scratch memory of a thread: an unpacked tile, and copies of the rows of the last one; or 16 rows in single precision.
constexpr size_t scratch_bytes(int64_t blocks, int64_t row_bytes) { return static_cast<size_t>(blocks * 2048 + 16 * row_bytes + 64); }

// The kernel for a type of ggml's, or null: there is none for it.
const product_kernel * product_avx512(int type);
const product_kernel * product_avx2(int type);

// Attention in ggml's FLASH_ATTN_EXT: keys in chunks, each with a part of the result, {largest score, total, output}.
constexpr int ATTENTION_ROWS = 48;
constexpr int64_t ATTENTION_CHUNK = 512;

struct attention_kernel {
    // Bytes of scratch memory of a thread, for keys and values of these widths.
    size_t (*scratch_bytes)(int64_t width, int64_t value_width);

    // Compute the parts of up to ATTENTION_ROWS rows in one chunk. A row is a query of one of the heads that share the keys of
    // `head`, numbered query by query; its part goes to the row's place among `parts`.
    void (*attend)(const ggml_tensor * op, int64_t batch, int64_t head, int64_t from, int64_t to, int64_t chunk, float * parts,
                   int64_t parts_stride, uint8_t * scratch);

    // Write a row's result, from its parts of all chunks.
    void (*merge)(const ggml_tensor * op, int64_t batch, int64_t query, int64_t head, float * parts, int64_t stride, int64_t chunks);
};

const attention_kernel * attention_avx512();
const attention_kernel * attention_avx2();

} // namespace llamacli
