// Products of a mixture of experts. The work buffer has the panels of all columns, sorted by expert, then for each thread the sorted
// columns and scratch memory. Each thread sorts for itself: that takes less time than to wait for another.
#include "experts.h"

#include <algorithm>
#include <cstring>

namespace {

using llamacli::LINE;
using llamacli::product_kernel;

// A column of the products is a choice of an expert for a token; its number is that of its results.
struct expert_layout {
    int64_t blocks, columns, experts;
    size_t panels, sorted, scratch; // bytes; the last two for each thread

    expert_layout(const ggml_tensor * op, const product_kernel * kernel)
        : blocks(op->src[1]->ne[0] / 32)
        , columns(op->ne[1] * op->ne[2])
        , experts(op->src[0]->ne[2])
        , panels(GGML_PAD(static_cast<size_t>(columns * blocks * kernel->bytes), LINE))
        , sorted(GGML_PAD(sizeof(int32_t) * static_cast<size_t>(columns + experts + 1), LINE))
        , scratch(GGML_PAD(llamacli::scratch_bytes(blocks, ggml_row_size(op->src[0]->type, op->src[0]->ne[0])), LINE)) {}

    size_t total(int threads) const { return LINE + panels + (sorted + scratch) * threads; }
};

// The columns in the order of their experts, and where those of each expert begin.
struct sorted_columns {
    int32_t * starts;
    int32_t * columns;

    sorted_columns(const ggml_tensor * op, const expert_layout & at, uint8_t * memory)
        : starts(reinterpret_cast<int32_t *>(memory)), columns(starts + at.experts + 1) {
        std::memset(starts, 0, sizeof(int32_t) * (at.experts + 1));
        for (int64_t column = 0; column < at.columns; column++) {
            starts[expert_of(op, column) + 1]++;
        }
        for (int64_t expert = 0; expert < at.experts; expert++) {
            starts[expert + 1] += starts[expert];
        }
        for (int64_t column = 0; column < at.columns; column++) {
            columns[starts[expert_of(op, column)]++] = static_cast<int32_t>(column);
        }
        std::memmove(starts + 1, starts, sizeof(int32_t) * at.experts); // each has moved to the end of its columns
        starts[0] = 0;
    }

    static int32_t expert_of(const ggml_tensor * op, int64_t column) {
        const ggml_tensor * ids = op->src[2];
        const auto * at = static_cast<const char *>(ids->data) + column % op->ne[1] * ids->nb[0] + column / op->ne[1] * ids->nb[1];
        const int32_t expert = *reinterpret_cast<const int32_t *>(at);
        GGML_ASSERT(expert >= 0 && expert < op->src[0]->ne[2]);
        return expert;
    }
};

const float * activations_of(const ggml_tensor * op, int64_t column) {
    const ggml_tensor * x = op->src[1];
    const char * data = static_cast<const char *>(x->data) + column % op->ne[1] % x->ne[1] * x->nb[1] + column / op->ne[1] * x->nb[2];
    return reinterpret_cast<const float *>(data);
}

// What the threads share are blocks, so that one column occupies them all.
void quantize(const ggml_compute_params * params, const ggml_tensor * op, const product_kernel * kernel, const expert_layout & at,
              const sorted_columns & sorted) {
    uint8_t * panels = llamacli::aligned(params->wdata);
    const int64_t all = at.columns * at.blocks, end = all * (params->ith + 1) / params->nth;
    int64_t expert = 0;
    for (int64_t next = all * params->ith / params->nth; next < end;) {
        const int64_t column = next / at.blocks, from = next % at.blocks, to = std::min(at.blocks, from + end - next);
        while (sorted.starts[expert + 1] <= column) {
            expert++;
        }
        const int64_t start = sorted.starts[expert], place = (column - start) % kernel->columns, first = column - place;
        kernel->quantize(activations_of(op, sorted.columns[column]), from, to, panels + first * at.blocks * kernel->bytes,
            static_cast<int>(place), static_cast<int>(std::min<int64_t>(kernel->columns, sorted.starts[expert + 1] - first)));
        next += to - from;
    }
}

} // namespace

bool llamacli::fits_experts(const ggml_tensor * op) {
    const ggml_tensor * ids = op->src[2];
    return ids->type == GGML_TYPE_I32 && op->nb[2] == op->nb[1] * op->ne[1] && op->ne[3] == 1 && op->ne[1] * op->ne[2] <= INT32_MAX;
}

size_t llamacli::experts_work_size(int threads, const step & of) { return expert_layout(of.ops[0], of.kernels[0]).total(threads); }

void llamacli::multiply_experts(const ggml_compute_params * params, step & self) {
    const ggml_tensor * op = self.ops[0];
    const product_kernel * kernel = self.kernels[0];
    const expert_layout at(op, kernel);
    uint8_t * panels = aligned(params->wdata);
    uint8_t * memory = panels + at.panels + (at.sorted + at.scratch) * params->ith;
    const sorted_columns sorted(op, at, memory);
    quantize(params, op, kernel, at, sorted);
    ggml_barrier(params->threadpool);

    const ggml_tensor * w = op->src[0];
    int64_t used = 0;
    for (int64_t expert = 0; expert < at.experts; expert++) {
        used += sorted.starts[expert] < sorted.starts[expert + 1];
    }
    const int64_t tiles = (w->ne[1] + kernel->rows - 1) / kernel->rows;
    const int64_t piece_rows = std::clamp<int64_t>(tiles * used / wanted_pieces(params->nth), 1, MOST_TILES) * kernel->rows;
    const int64_t row_pieces = (w->ne[1] + piece_rows - 1) / piece_rows;
    pieces piece(params, self);
    int64_t before = 0; // pieces of the experts that are done
    for (int64_t expert = 0; expert < at.experts; expert++) {
        const int64_t start = sorted.starts[expert], count = sorted.starts[expert + 1] - start;
        if (!count) {
            continue;
        }
        const product_task task = {static_cast<const uint8_t *>(w->data) + expert * w->nb[2], static_cast<int64_t>(w->nb[1]), w->ne[1],
            at.blocks, panels + start * at.blocks * kernel->bytes, count, static_cast<float *>(op->data),
            static_cast<int64_t>(op->nb[1] / sizeof(float)), sorted.columns + start};
        for (; piece.current() < before + row_pieces; piece.take()) {
            const int64_t from = (piece.current() - before) * piece_rows;
            kernel->compute(task, from, std::min(w->ne[1], from + piece_rows), 0, (count + kernel->columns - 1) / kernel->columns,
                memory + at.sorted);
        }
        before += row_pieces;
    }
}
