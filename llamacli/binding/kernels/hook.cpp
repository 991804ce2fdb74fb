// The way of our kernels into ggml's CPU backend: ggml-cpu.c is compiled with these functions in the place of
// `ggml_cpu_extra_work_size` and `ggml_cpu_extra_compute_forward`, which offer each operation to the types of repacked weights
// before anything else. What is not ours goes on to them.
#include "choice.h"
#include "common.h"
#include "experts.h"
#include "kernels.h"
#include "work.h"

#include "ggml-backend-impl.h"
#include "ggml-cpu.h"
#include "ggml-cpu-impl.h"
#include "tiled/tiled.h"
#include "traits.h"

#include <algorithm>
#include <string>

namespace {

using llamacli::aligned;
using llamacli::attention_kernel;
using llamacli::LINE;
using llamacli::MOST_TILES;
using llamacli::product_kernel;
using llamacli::product_task;

// An operation carries the choice that its graph was planned with in its last parameter, which nothing else uses: threads that
// asked for themselves could get different answers while somebody changes the choice.
constexpr int PLACE = GGML_MAX_OP_PARAMS / sizeof(int32_t) - 1;

// The instructions that the choice stands for here.
enum class words { none, avx2, avx512 };

words words_of(int kernels) {
    static const std::string best = llamacli_kernels_instructions();
    if (kernels == LLAMACLI_KERNELS_UPSTREAM || best.empty()) {
        return words::none;
    }
    return kernels == LLAMACLI_KERNELS_BEST && best == "AVX512_VNNI" ? words::avx512 : words::avx2;
}

bool is_here(const ggml_tensor * tensor) { return !tensor->buffer || ggml_backend_buffer_is_host(tensor->buffer); }

const product_kernel * product_of(const ggml_tensor * op, int kernels) {
    const words chosen = words_of(kernels);
    const bool is_product = op->op == GGML_OP_MUL_MAT || (op->op == GGML_OP_MUL_MAT_ID && llamacli::fits_experts(op));
    if (!is_product || chosen == words::none) {
        return nullptr;
    }
    const ggml_tensor * weights = op->src[0];
    const ggml_tensor * columns = op->src[1];
    const bool fits = columns->type == GGML_TYPE_F32 && op->type == GGML_TYPE_F32 && columns->nb[0] == sizeof(float) &&
        op->nb[0] == sizeof(float) && columns->ne[0] % 32 == 0 && weights->nb[0] == ggml_type_size(weights->type) && op->nb[1] % sizeof(float) == 0 &&
        is_here(weights);
    if (!fits) {
        return nullptr;
    }
    return chosen == words::avx512 ? llamacli::product_avx512(weights->type) : llamacli::product_avx2(weights->type);
}

const attention_kernel * attention_of(const ggml_tensor * op, int kernels) {
    const words chosen = words_of(kernels);
    if (op->op != GGML_OP_FLASH_ATTN_EXT || chosen == words::none) {
        return nullptr;
    }
    const ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2], *mask = op->src[3];
    const auto plain = [](const ggml_tensor * t) {
        return (t->type == GGML_TYPE_F16 || t->type == GGML_TYPE_F32) && t->nb[0] == ggml_type_size(t->type) && is_here(t);
    };
    const bool fits = q->type == GGML_TYPE_F32 && q->nb[0] == sizeof(float) && plain(k) && plain(v) && k->ne[0] % 4 == 0 &&
        k->ne[2] == v->ne[2] && k->ne[3] == v->ne[3] && (!mask || mask->type == GGML_TYPE_F16);
    if (!fits) {
        return nullptr;
    }
    return chosen == words::avx512 ? llamacli::attention_avx512() : llamacli::attention_avx2();
}

// The parts of the work buffer: the panels of all columns, then scratch memory for each thread.
struct layout {
    int64_t blocks;  // in a row
    size_t slice;    // bytes of the panels of one matrix of columns
    size_t panels;   // bytes of all
    size_t scratch;  // bytes for each thread

    layout(const ggml_tensor * op, const product_kernel * kernel)
        : blocks(op->src[1]->ne[0] / 32)
        , slice(GGML_PAD(static_cast<size_t>(op->src[1]->ne[1] * blocks * kernel->bytes), LINE))
        , panels(slice * op->src[1]->ne[2] * op->src[1]->ne[3])
        , scratch(GGML_PAD(llamacli::scratch_bytes(blocks, ggml_row_size(op->src[0]->type, op->src[0]->ne[0])), LINE)) {}

    size_t total(int threads) const { return LINE + panels + scratch * threads; }
};

void quantize(const ggml_compute_params * params, const ggml_tensor * op, const product_kernel * kernel, const layout & at) {
    const ggml_tensor * x = op->src[1];
    const int64_t columns = x->ne[1], all = columns * x->ne[2] * x->ne[3];
    uint8_t * panels = aligned(params->wdata);
    // what the threads share are blocks, so that one column occupies them all
    const int64_t end = all * at.blocks * (params->ith + 1) / params->nth;
    for (int64_t next = all * at.blocks * params->ith / params->nth; next < end;) {
        const int64_t column = next / at.blocks, from = next % at.blocks, to = std::min(at.blocks, from + end - next);
        const int64_t slice = column / columns, i = column % columns, first = i - i % kernel->columns;
        const char * data = static_cast<const char *>(x->data) + i * x->nb[1] + slice % x->ne[2] * x->nb[2] + slice / x->ne[2] * x->nb[3];
        kernel->quantize(reinterpret_cast<const float *>(data), from, to,
            panels + slice * at.slice + first * at.blocks * kernel->bytes, static_cast<int>(i - first),
            static_cast<int>(std::min<int64_t>(kernel->columns, columns - first)));
        next += to - from;
    }
}

product_task task_of(const ggml_tensor * op, const layout & at, const uint8_t * panels, int64_t slice) {
    const ggml_tensor * w = op->src[0];
    const int64_t i2 = slice % op->ne[2], i3 = slice / op->ne[2];
    const int64_t w2 = i2 / (op->ne[2] / w->ne[2]), w3 = i3 / (op->ne[3] / w->ne[3]);
    return {static_cast<const uint8_t *>(w->data) + w2 * w->nb[2] + w3 * w->nb[3], static_cast<int64_t>(w->nb[1]), w->ne[1], at.blocks,
            panels + slice * at.slice, op->ne[1],
            reinterpret_cast<float *>(static_cast<char *>(op->data) + i2 * op->nb[2] + i3 * op->nb[3]),
            static_cast<int64_t>(op->nb[1] / sizeof(float)), nullptr};
}

void multiply(const ggml_compute_params * params, const ggml_tensor * op, const product_kernel * kernel) {
    const layout at(op, kernel);
    if (params->ith == 0) {
        ggml_threadpool_chunk_set(params->threadpool, params->nth);
    }
    quantize(params, op, kernel, at);
    ggml_barrier(params->threadpool);

    const uint8_t * panels = aligned(params->wdata);
    uint8_t * scratch = aligned(params->wdata) + at.panels + at.scratch * params->ith;
    const int64_t slices = op->ne[2] * op->ne[3], tiles = (op->src[0]->ne[1] + kernel->rows - 1) / kernel->rows;
    const int64_t groups = (op->ne[1] + kernel->columns - 1) / kernel->columns;
    // by rows first, because rows are unpacked once for each piece
    const int64_t wanted = llamacli::wanted_pieces(params->nth);
    const int64_t piece_tiles = std::clamp<int64_t>(tiles * slices / wanted, 1, MOST_TILES);
    const int64_t row_pieces = (tiles + piece_tiles - 1) / piece_tiles;
    const int64_t column_pieces = std::clamp<int64_t>(wanted / (row_pieces * slices), 1, groups);
    const int64_t pieces = row_pieces * column_pieces * slices;
    for (int64_t piece = params->ith; piece < pieces; piece = ggml_threadpool_chunk_add(params->threadpool, 1)) {
        const int64_t slice = piece / (row_pieces * column_pieces), rest = piece % (row_pieces * column_pieces);
        const int64_t from = rest % row_pieces * piece_tiles * kernel->rows, part = rest / row_pieces;
        kernel->compute(task_of(op, at, panels, slice), from, std::min(op->src[0]->ne[1], from + piece_tiles * kernel->rows),
            groups * part / column_pieces, groups * (part + 1) / column_pieces, scratch);
    }
}

// --- attention ------------------------------------------------------------------------------------------------------------------
// The work buffer has the parts of all rows, then scratch memory for each thread. A piece of work is some rows of one head of
// keys and values, in one chunk of keys.
struct attention_layout {
    int64_t share, rows, heads, chunks, piece_rows, row_pieces; // rows are those of a head of keys
    size_t part, parts, scratch;                                // bytes

    attention_layout(const ggml_tensor * op, const attention_kernel * kernel, int threads) {
        const ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2];
        share = q->ne[2] / k->ne[2];
        rows = q->ne[1] * share;
        heads = k->ne[2] * q->ne[3];
        chunks = (k->ne[1] + llamacli::ATTENTION_CHUNK - 1) / llamacli::ATTENTION_CHUNK;
        // keys are unpacked once for each piece: at least the heads of one query share them
        const int64_t least = std::min<int64_t>(share, llamacli::ATTENTION_ROWS);
        piece_rows = std::clamp<int64_t>(rows * heads * chunks / (4 * threads), least, llamacli::ATTENTION_ROWS);
        row_pieces = (rows + piece_rows - 1) / piece_rows;
        part = sizeof(float) * (2 + v->ne[0]);
        parts = GGML_PAD(part * rows * heads * chunks, LINE);
        scratch = GGML_PAD(kernel->scratch_bytes(k->ne[0], v->ne[0]), LINE);
    }

    size_t total(int threads) const { return LINE + parts + scratch * threads; }
};

void attend(const ggml_compute_params * params, const ggml_tensor * op, const attention_kernel * kernel) {
    const attention_layout at(op, kernel, params->nth);
    const int64_t key_heads = op->src[1]->ne[2], floats = at.part / sizeof(float);
    auto * parts = reinterpret_cast<float *>(aligned(params->wdata));
    uint8_t * scratch = aligned(params->wdata) + at.parts + at.scratch * params->ith;
    if (params->ith == 0) {
        ggml_threadpool_chunk_set(params->threadpool, params->nth);
    }
    ggml_barrier(params->threadpool);

    const int64_t pieces = at.row_pieces * at.heads * at.chunks;
    for (int64_t piece = params->ith; piece < pieces; piece = ggml_threadpool_chunk_add(params->threadpool, 1)) {
        const int64_t head = piece / (at.row_pieces * at.chunks), rest = piece % (at.row_pieces * at.chunks);
        const int64_t from = rest / at.chunks * at.piece_rows, chunk = rest % at.chunks;
        kernel->attend(op, head / key_heads, head % key_heads, from, std::min(at.rows, from + at.piece_rows), chunk,
            parts + ((head * at.rows + from) * at.chunks + chunk) * floats, at.chunks * floats, scratch);
    }
    ggml_barrier(params->threadpool);

    const int64_t all = at.rows * at.heads;
    for (int64_t i = all * params->ith / params->nth; i < all * (params->ith + 1) / params->nth; i++) {
        const int64_t head = i / at.rows, row = i % at.rows;
        kernel->merge(op, head / key_heads, row / at.share, head % key_heads * at.share + row % at.share,
            parts + i * at.chunks * floats, floats, at.chunks);
    }
}

// --- the hook -------------------------------------------------------------------------------------------------------------------
bool is_known(const ggml_tensor * op) {
    return op->op == GGML_OP_MUL_MAT || op->op == GGML_OP_MUL_MAT_ID || op->op == GGML_OP_FLASH_ATTN_EXT;
}

size_t our_work_size(int threads, const ggml_tensor * op, const product_kernel * product, const attention_kernel * attention) {
    if (attention) {
        return attention_layout(op, attention, threads).total(threads);
    }
    return op->op == GGML_OP_MUL_MAT_ID ? llamacli::experts_work_size(threads, op, product) : layout(op, product).total(threads);
}

// The bytes that ggml's own kernels may need: its reference mode is chosen after planning.
size_t their_work_size(int threads, const ggml_tensor * op) {
    if (op->op != GGML_OP_FLASH_ATTN_EXT) {
        const ggml_type quantized = ggml_get_type_traits_cpu(op->src[0]->type)->vec_dot_type;
        const size_t columns = GGML_PAD(ggml_row_size(quantized, ggml_nelements(op->src[1])), LINE) +
            ggml_tiled_wdata_size(threads, const_cast<ggml_tensor *>(op));
        if (op->op == GGML_OP_MUL_MAT) {
            return columns;
        }
        const size_t experts = op->src[0]->ne[2], choice = 2 * sizeof(int32_t);
        return columns + experts * (sizeof(int64_t) + choice * ggml_nelements(op->src[2]) + LINE) + 4 * LINE;
    }
    const int64_t width = op->src[1]->ne[0], values = op->src[2]->ne[0];
    const size_t one = GGML_FA_TILE_Q * (width + 2 * GGML_FA_TILE_KV + values) + GGML_FA_TILE_KV * (width + values) + LINE;
    return sizeof(float) * threads * (one + op->src[0]->ne[2] * (2 + values));
}

} // namespace

extern "C" bool llamacli_work_size(int threads, const ggml_tensor * op, size_t * size) {
    if (!is_known(op)) {
        return ggml_cpu_extra_work_size(threads, op, size);
    }
    const int kernels = llamacli_chosen_kernels();
    const product_kernel * product = product_of(op, kernels);
    const attention_kernel * attention = attention_of(op, kernels);
    const bool ours = product || attention;
    const_cast<ggml_tensor *>(op)->op_params[PLACE] = ours ? kernels : LLAMACLI_KERNELS_UPSTREAM;
    if (!ours) {
        return ggml_cpu_extra_work_size(threads, op, size);
    }
    *size = std::max(our_work_size(threads, op, product, attention), their_work_size(threads, op));
    return true;
}

extern "C" bool llamacli_compute_forward(ggml_compute_params * params, ggml_tensor * op) {
    const int kernels = !params->use_ref && is_known(op) ? op->op_params[PLACE] : LLAMACLI_KERNELS_UPSTREAM;
    if (const product_kernel * product = product_of(op, kernels)) {
        if (op->op == GGML_OP_MUL_MAT_ID) {
            llamacli::multiply_experts(params, op, product);
        } else {
            multiply(params, op, product);
        }
        return true;
    }
    if (const attention_kernel * attention = attention_of(op, kernels)) {
        attend(params, op, attention);
        return true;
    }
    return ggml_cpu_extra_compute_forward(params, op);
}
