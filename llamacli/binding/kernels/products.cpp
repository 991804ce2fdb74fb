#include "products.h"

#include "binary-ops.h"
#include "ops.h"

#include <algorithm>

namespace {

using llamacli::aligned;
using llamacli::LINE;
using llamacli::MOST_TILES;
using llamacli::pieces;
using llamacli::product_kernel;
using llamacli::product_task;
using llamacli::step;
using llamacli::tail;

constexpr int64_t MOST_ALONE = 4096; // activations that each thread quantizes for itself: that takes less time than to wait
constexpr int64_t TAIL_ROWS = 16;    // tails begin at multiples of them, as in whole rows: ggml's vectors are no longer

// Whether each column has a matrix of its own, that of an expert.
bool chooses(const ggml_tensor * op) { return op->op == GGML_OP_MUL_MAT_ID; }

// The matrices of results: with experts a column for each.
int64_t slices_of(const ggml_tensor * op) { return chooses(op) ? op->ne[1] : op->ne[2] * op->ne[3]; }
int64_t columns_of(const ggml_tensor * op) { return chooses(op) ? 1 : op->ne[1]; }

// The parts of the work buffer: the panels of all columns, then scratch memory for each thread; or both for each thread.
struct layout {
    int64_t blocks;        // in a row
    size_t slice = 0;      // bytes of the panels of one matrix of columns
    size_t panels = 0;     // bytes of all
    size_t scratch = 0;    // bytes for each thread
    bool is_shared;        // there is one copy of the panels

    explicit layout(const step & of) : blocks(of.ops[0]->src[1]->ne[0] / 32), is_shared(llamacli::shares_columns(of.ops[0])) {
        const ggml_tensor * columns = of.ops[0]->src[1];
        for (int i = 0; i < of.count; i++) {
            const ggml_tensor * weights = of.ops[i]->src[0];
            slice = std::max(slice, GGML_PAD(static_cast<size_t>(columns_of(of.ops[i]) * blocks * of.kernels[i]->bytes), LINE));
            scratch = std::max(scratch, llamacli::scratch_bytes(blocks, ggml_row_size(weights->type, weights->ne[0])));
        }
        panels = slice * (chooses(of.ops[0]) ? columns->ne[1] : columns->ne[2] * columns->ne[3]);
        scratch = GGML_PAD(scratch, LINE);
    }

    size_t total(int threads) const { return LINE + (is_shared ? panels : panels * threads) + scratch * threads; }

    uint8_t * panels_of(const ggml_compute_params * params) const {
        return aligned(params->wdata) + (is_shared ? 0 : (panels + scratch) * params->ith);
    }

    uint8_t * scratch_of(const ggml_compute_params * params) const {
        return aligned(params->wdata) + panels + (is_shared ? scratch : panels + scratch) * params->ith;
    }
};

// Quantize the share of one thread of so many.
void quantize(const ggml_tensor * op, const product_kernel * kernel, const layout & at, uint8_t * panels, int thread, int threads) {
    const ggml_tensor * x = op->src[1];
    const int64_t columns = columns_of(op), all = ggml_nrows(x);
    // what the threads share are blocks, so that one column occupies them all
    const int64_t end = all * at.blocks * (thread + 1) / threads;
    for (int64_t next = all * at.blocks * thread / threads; next < end;) {
        const int64_t column = next / at.blocks, from = next % at.blocks, to = std::min(at.blocks, from + end - next);
        const int64_t slice = column / columns, i = column % columns, first = i - i % kernel->columns;
        const size_t offset = chooses(op) ? slice * x->nb[1] : slice % x->ne[2] * x->nb[2] + slice / x->ne[2] * x->nb[3];
        const char * data = static_cast<const char *>(x->data) + offset + i * x->nb[1];
        kernel->quantize(reinterpret_cast<const float *>(data), from, to,
            panels + slice * at.slice + first * at.blocks * kernel->bytes, static_cast<int>(i - first),
            static_cast<int>(std::min<int64_t>(kernel->columns, columns - first)));
        next += to - from;
    }
}

product_task task_of_expert(const ggml_tensor * op, const layout & at, const uint8_t * panels, int64_t column) {
    const ggml_tensor *w = op->src[0], *ids = op->src[2];
    const int32_t expert = *reinterpret_cast<const int32_t *>(static_cast<const char *>(ids->data) + column * ids->nb[0]);
    GGML_ASSERT(expert >= 0 && expert < w->ne[2]);
    return {static_cast<const uint8_t *>(w->data) + expert * w->nb[2], static_cast<int64_t>(w->nb[1]), w->ne[1], at.blocks,
            panels + column % op->src[1]->ne[1] * at.slice, 1,
            reinterpret_cast<float *>(static_cast<char *>(op->data) + column * op->nb[1]), 0, nullptr};
}

product_task task_of(const ggml_tensor * op, const layout & at, const uint8_t * panels, int64_t slice) {
    if (chooses(op)) {
        return task_of_expert(op, at, panels, slice);
    }
    const ggml_tensor * w = op->src[0];
    const int64_t i2 = slice % op->ne[2], i3 = slice / op->ne[2];
    const int64_t w2 = i2 / (op->ne[2] / w->ne[2]), w3 = i3 / (op->ne[3] / w->ne[3]);
    return {static_cast<const uint8_t *>(w->data) + w2 * w->nb[2] + w3 * w->nb[3], static_cast<int64_t>(w->nb[1]), w->ne[1],
            at.blocks, panels + slice * at.slice, op->ne[1],
            reinterpret_cast<float *>(static_cast<char *>(op->data) + i2 * op->nb[2] + i3 * op->nb[3]),
            static_cast<int64_t>(op->nb[1] / sizeof(float)), nullptr};
}

// How the products of a step are divided: by rows first, because rows are unpacked once for each piece. Pieces are even, so that
// threads of one speed end together.
class division {
  public:
    division(const step & of, int threads)
        : self(of), slices(slices_of(of.ops[0])), wanted(llamacli::wanted_pieces(threads)) {
        for (int i = 0; i < (of.in_rows ? 1 : of.count); i++) {
            all_tiles += tiles(i);
        }
    }

    // The pieces of one product; of all if they are computed together.
    int64_t pieces_of(int product) const { return row_pieces(product) * column_pieces(product) * slices; }

    struct piece {
        int64_t slice, from, to, first_panel, last_panel;
    };

    piece at(int product, int64_t number) const {
        const int64_t in_rows = row_pieces(product), in_columns = column_pieces(product);
        const int64_t row = number % in_rows, column = number / in_rows % in_columns;
        return {number / (in_rows * in_columns), begin_of_rows(product, row, in_rows), begin_of_rows(product, row + 1, in_rows),
                panels(product) * column / in_columns, panels(product) * (column + 1) / in_columns};
    }

  private:
    int64_t tile_rows(int product) const { return std::max<int64_t>(self.kernels[product]->rows, self.tail_count ? TAIL_ROWS : 1); }
    int64_t tiles(int product) const { return (self.ops[product]->ne[0] + tile_rows(product) - 1) / tile_rows(product); }
    int64_t panels(int product) const {
        return (columns_of(self.ops[product]) + self.kernels[product]->columns - 1) / self.kernels[product]->columns;
    }

    // Of the wanted ones a share by the product's size, within what a piece may have. A thread alone reads each matrix as a whole.
    int64_t row_pieces(int product) const {
        if (wanted == 1) {
            return 1;
        }
        const int64_t most_tiles = MOST_TILES * self.kernels[product]->rows / tile_rows(product);
        const int64_t share = (2 * wanted * tiles(product) + all_tiles * slices) / (2 * all_tiles * slices);
        return std::clamp(share, (tiles(product) + most_tiles - 1) / most_tiles, tiles(product));
    }

    int64_t column_pieces(int product) const {
        return std::clamp<int64_t>(wanted / (row_pieces(product) * slices), 1, panels(product));
    }

    int64_t begin_of_rows(int product, int64_t piece, int64_t count) const {
        return std::min(self.ops[product]->ne[0], tiles(product) * piece / count * tile_rows(product));
    }

    const step & self;
    const int64_t slices, wanted;
    int64_t all_tiles = 0;
};

// Rows and columns of a product, and of its tails.
struct area {
    int64_t from, to, first, last;
};

area area_of(const ggml_tensor * op, const product_kernel * kernel, const division::piece & where) {
    if (chooses(op)) {
        return {where.from, where.to, where.slice, where.slice + 1};
    }
    return {where.from, where.to, where.first_panel * kernel->columns, std::min(op->ne[1], where.last_panel * kernel->columns)};
}

ggml_tensor part_of(const ggml_tensor & whole, const area & of) {
    ggml_tensor part = whole;
    part.data = static_cast<char *>(whole.data) + of.from * whole.nb[0];
    part.ne[0] = of.to - of.from;
    if (whole.ne[1] > 1) { // else it is one column for all
        part.data = static_cast<char *>(part.data) + of.first * whole.nb[1];
        part.ne[1] = of.last - of.first;
    }
    return part;
}

void compute_tail(const ggml_compute_params * params, const ggml_tensor * op, const area & of) {
    ggml_tensor part = part_of(*op, of), sources[2];
    for (int i = 0; i < 2; i++) {
        if (op->src[i]) {
            sources[i] = part_of(*op->src[i], of);
            part.src[i] = &sources[i];
        }
    }
    const ggml_compute_params alone = {0, 1, 0, nullptr, params->threadpool, params->use_ref};
    switch (op->op) {
        case GGML_OP_ADD: return ggml_compute_forward_add(&alone, &part);
        case GGML_OP_MUL: return ggml_compute_forward_mul(&alone, &part);
        case GGML_OP_UNARY: return ggml_compute_forward_unary(&alone, &part);
        case GGML_OP_GLU: return ggml_compute_forward_glu(&alone, &part);
        default: GGML_ABORT("no tail of a product");
    }
}

void compute_tails(const ggml_compute_params * params, const step & self, int first, int last, const division::piece & where) {
    for (const tail * t = self.tails; t < self.tails + self.tail_count; t++) {
        if (t->after >= first && t->after < last) {
            compute_tail(params, t->op, area_of(self.ops[first], self.kernels[first], where));
        }
    }
}

} // namespace

bool llamacli::shares_columns(const ggml_tensor * op) { return ggml_nelements(op->src[1]) > MOST_ALONE; }

size_t llamacli::products_work_size(int threads, const step & of) { return layout(of).total(threads); }

void llamacli::multiply(const ggml_compute_params * params, step & self) {
    const layout at(self);
    const division parts(self, params->nth);
    uint8_t *panels = at.panels_of(params), *scratch = at.scratch_of(params);
    const product_kernel * quantized = nullptr; // whose panels are there
    if (at.is_shared) {
        quantized = self.kernels[0];
        quantize(self.ops[0], quantized, at, panels, params->ith, params->nth);
        ggml_barrier(params->threadpool);
    }
    pieces piece(params, self);
    int64_t before = 0; // pieces of the products that are done
    for (int first = 0, last; first < self.count; first = last) {
        last = self.in_rows ? self.count : first + 1;
        const int64_t count = parts.pieces_of(first);
        for (; piece.current() < before + count; piece.take()) {
            if (!quantized || quantized->quantize != self.kernels[first]->quantize) {
                quantized = self.kernels[first];
                quantize(self.ops[first], quantized, at, panels, 0, 1);
            }
            const division::piece where = parts.at(first, piece.current() - before);
            for (int i = first; i < last; i++) {
                self.kernels[i]->compute(task_of(self.ops[i], at, panels, where.slice), where.from, where.to, where.first_panel,
                    where.last_panel, scratch);
            }
            compute_tails(params, self, first, last, where);
        }
        before += count;
    }
}
