#include "attend.h"

#include <algorithm>

namespace {

using llamacli::ATTENTION_ROWS;
using llamacli::attention_kernel;
using llamacli::LINE;

// The work buffer has the parts of all rows, then scratch memory for each thread.
struct layout {
    int64_t share, rows, heads, chunks, piece_rows, row_pieces; // rows are those of a head of keys
    size_t part, parts, scratch;                                // bytes

    layout(const ggml_tensor * op, const attention_kernel * kernel, int threads) {
        const ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2];
        share = q->ne[2] / k->ne[2];
        rows = q->ne[1] * share;
        heads = k->ne[2] * q->ne[3];
        chunks = (k->ne[1] + llamacli::ATTENTION_CHUNK - 1) / llamacli::ATTENTION_CHUNK;
        // keys are unpacked once for each piece: at least the heads of one query share them
        const int64_t least = std::min<int64_t>(share, ATTENTION_ROWS);
        piece_rows = std::clamp<int64_t>(rows * heads * chunks / (4 * threads), least, ATTENTION_ROWS);
        row_pieces = (rows + piece_rows - 1) / piece_rows;
        part = sizeof(float) * (2 + v->ne[0]);
        parts = GGML_PAD(part * rows * heads * chunks, LINE);
        scratch = GGML_PAD(kernel->scratch_bytes(k->ne[0], v->ne[0]), LINE);
    }

    size_t total(int threads) const { return LINE + parts + scratch * threads; }
};

} // namespace

size_t llamacli::attention_work_size(int threads, const ggml_tensor * op, const attention_kernel * kernel) {
    return layout(op, kernel, threads).total(threads);
}

void llamacli::attend(const ggml_compute_params * params, step & self) {
    const ggml_tensor * op = self.ops[0];
    const attention_kernel * kernel = self.attention;
    const layout at(op, kernel, params->nth);
    const int64_t key_heads = op->src[1]->ne[2], floats = at.part / sizeof(float);
    auto * parts = reinterpret_cast<float *>(aligned(params->wdata));
    uint8_t * scratch = aligned(params->wdata) + at.parts + at.scratch * params->ith;
    const auto merge = [&](int64_t head, int64_t row) {
        kernel->merge(op, head / key_heads, row / at.share, head % key_heads * at.share + row % at.share,
            parts + (head * at.rows + row) * at.chunks * floats, floats, at.chunks);
    };

    const int64_t count = at.row_pieces * at.heads * at.chunks;
    for (pieces piece(params, self); piece.current() < count; piece.take()) {
        const int64_t in_head = at.row_pieces * at.chunks, head = piece.current() / in_head, rest = piece.current() % in_head;
        const int64_t from = rest / at.chunks * at.piece_rows, to = std::min(at.rows, from + at.piece_rows), chunk = rest % at.chunks;
        kernel->attend(op, head / key_heads, head % key_heads, from, to, chunk,
            parts + ((head * at.rows + from) * at.chunks + chunk) * floats, at.chunks * floats, scratch);
        for (int64_t row = from; at.chunks == 1 && row < to; row++) {
            merge(head, row);
        }
    }
    if (at.chunks == 1) {
        return;
    }
    ggml_barrier(params->threadpool); // the chunks of a row may be from several threads

    const int64_t all = at.rows * at.heads;
    for (int64_t i = all * params->ith / params->nth; i < all * (params->ith + 1) / params->nth; i++) {
        merge(i / at.rows, i % at.rows);
    }
}
