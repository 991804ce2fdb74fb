#include "steps.h"

#include "attend.h"
#include "experts.h"
#include "memory.h"
#include "ops.h"
#include "products.h"

#include <algorithm>

namespace {

using llamacli::step;
using llamacli::tail;

constexpr int REACH = 24; // nodes that are looked at for a step, from its first one

bool is_flat(const ggml_tensor * t) { return t->ne[2] == 1 && t->ne[3] == 1; }

// Operations that write nothing but their own tensor. Nothing is moved past others.
bool is_understood(const ggml_tensor * t) {
    switch (t->op) {
        case GGML_OP_ADD: case GGML_OP_ADD_ID: case GGML_OP_SUB: case GGML_OP_MUL: case GGML_OP_DIV: case GGML_OP_SCALE:
        case GGML_OP_UNARY: case GGML_OP_GLU: case GGML_OP_CLAMP: case GGML_OP_NORM: case GGML_OP_RMS_NORM: case GGML_OP_L2_NORM:
        case GGML_OP_MUL_MAT: case GGML_OP_MUL_MAT_ID: case GGML_OP_FLASH_ATTN_EXT: case GGML_OP_SOFT_MAX: case GGML_OP_ROPE:
        case GGML_OP_SET_ROWS: case GGML_OP_GET_ROWS: case GGML_OP_CPY: case GGML_OP_CONT: case GGML_OP_DUP: case GGML_OP_CONCAT:
        case GGML_OP_REPEAT: case GGML_OP_SUM_ROWS: case GGML_OP_ARGSORT: case GGML_OP_TOP_K:
            return true;
        default:
            return false;
    }
}

bool is_plain(const ggml_tensor * t) {
    return t->op == GGML_OP_ROPE || (t->op == GGML_OP_SET_ROWS && t->src[0]->type == GGML_TYPE_F32);
}

void compute_plain(const ggml_compute_params * params, step & self) {
    for (int i = 0; i < self.count; i++) {
        if (self.ops[i]->op == GGML_OP_ROPE) {
            ggml_compute_forward_rope(params, self.ops[i]);
        } else {
            ggml_compute_forward_set_rows(params, self.ops[i]);
        }
    }
}

// --- tails ----------------------------------------------------------------------------------------------------------------------
// Rows of floats, which need not lie together: what ggml's operations on each element take.
bool has_plain_rows(const ggml_tensor * t) { return t->type == GGML_TYPE_F32 && t->nb[0] == sizeof(float) && is_flat(t); }

// Whether an element of `op` is computed from those of its sources at the same place. A second source may have one row for all.
bool is_of_each_element(const ggml_tensor * op) {
    const bool repeats = op->op == GGML_OP_ADD || op->op == GGML_OP_MUL;
    if (!(repeats || op->op == GGML_OP_UNARY || op->op == GGML_OP_GLU) || !has_plain_rows(op) || op->src[2]) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        const ggml_tensor * source = op->src[i];
        if (source && (!has_plain_rows(source) || source->ne[0] != op->ne[0] ||
                       (source->ne[1] != op->ne[1] && !(repeats && i == 1 && source->ne[1] == 1)))) {
            return false;
        }
    }
    return true;
}

// The number of the product that a tensor is, or is a tail of; -1: of none.
int product_of(const step & of, const ggml_tensor * tensor) {
    for (int i = 0; i < of.count; i++) {
        if (of.ops[i] == tensor) {
            return i;
        }
    }
    const tail * end = of.tails + of.tail_count;
    const tail * found = std::find_if(of.tails, end, [&](const tail & t) { return t.op == tensor; });
    return found == end ? -1 : found->after;
}

bool is_product(const ggml_tensor * t) { return t->op == GGML_OP_MUL_MAT || t->op == GGML_OP_MUL_MAT_ID; }

bool fit_in_rows(const step & of) {
    for (int i = 1; i < of.count; i++) {
        if (of.kernels[i]->quantize != of.kernels[0]->quantize || of.ops[i]->ne[0] != of.ops[0]->ne[0]) {
            return false;
        }
    }
    return true;
}

} // namespace

// A node that no step has computed so far.
bool llamacli::steps::is_due(int place) const {
    const ggml_tensor * node = graph->nodes[place];
    return !owners[place] && !ggml_op_is_empty(node->op) && (node->flags & GGML_TENSOR_FLAG_COMPUTE) && !ggml_is_empty(node);
}

// Whether what joins the newest step must come to terms with a node before it.
bool llamacli::steps::matters(int place) const { return owners[place] == used || is_due(place); }

bool llamacli::steps::is_independent(int first, int place) const {
    for (int i = first; i < place; i++) {
        if (matters(i) && !are_independent(graph->nodes[i], graph->nodes[place])) {
            return false;
        }
    }
    return true;
}

bool llamacli::steps::joins_as_product(ggml_tensor * op, step & next) const {
    if (next.compute != multiply || next.count == MOST_OPS || next.in_rows || op->op != next.ops[0]->op ||
        op->src[1] != next.ops[0]->src[1] || op->src[2] != next.ops[0]->src[2] || !is_flat(op) || !is_flat(next.ops[0])) {
        return false;
    }
    next.kernels[next.count] = kernels->kernels_of(op).product;
    next.ops[next.count] = op;
    if (!next.kernels[next.count] ||
        (shares_columns(op) && next.kernels[next.count]->quantize != next.kernels[0]->quantize)) {
        return false;
    }
    next.count++;
    const bool fits = products_work_size(threads, next) <= work_size;
    next.count--;
    return fits;
}

// Rotations have scratch memory for each thread, in the order of threads: of one size, so that they do not meet.
bool llamacli::steps::joins_as_plain(const ggml_tensor * op, const step & next) const {
    const auto differs = [&](const ggml_tensor * other) {
        return other->op == GGML_OP_ROPE && op->op == GGML_OP_ROPE && other->ne[0] != op->ne[0];
    };
    return next.compute == compute_plain && next.count < MOST_OPS && is_plain(op) &&
        std::none_of(next.ops, next.ops + next.count, differs);
}

bool llamacli::steps::joins_as_tail(int first, int place, step & next) const {
    ggml_tensor * op = graph->nodes[place];
    // many columns are multiplied faster without tails between their pieces, and their waits are few
    if (next.compute != multiply || next.tail_count == MOST_TAILS || shares_columns(next.ops[0]) || !is_of_each_element(op)) {
        return false;
    }
    const int a = product_of(next, op->src[0]), b = op->src[1] ? product_of(next, op->src[1]) : -1;
    const bool combines = a >= 0 && b >= 0 && a != b;
    const int after = std::max(a, b);
    // a product of one column may be added to many: a piece has the first of them only
    if (after < 0 || !ggml_are_same_shape(op, next.ops[after]) || (combines && !fit_in_rows(next))) {
        return false;
    }
    for (int i = first; i < place; i++) {
        const ggml_tensor * before = graph->nodes[i];
        const int product = owners[i] == used ? product_of(next, before) : -1;
        const bool is_same_piece = product >= 0 && (product == after || combines || next.in_rows);
        if (matters(i) && !(is_same_piece ? may_follow(op, before, is_product(before)) : are_independent(op, before))) {
            return false;
        }
    }
    next.tails[next.tail_count++] = {op, after};
    next.in_rows = next.in_rows || combines;
    return true;
}

bool llamacli::steps::joins(int first, int place, step & next) const {
    ggml_tensor * op = graph->nodes[place];
    if (joins_as_product(op, next) || joins_as_plain(op, next)) {
        if (!is_independent(first, place)) {
            return false;
        }
        next.ops[next.count++] = op;
        return true;
    }
    return joins_as_tail(first, place, next);
}

void llamacli::steps::extend(int first, step & next) {
    const int end = std::min(graph->n_nodes, first + REACH);
    for (int i = first + 1; i < end; i++) {
        if (!is_due(i)) {
            continue;
        }
        if (!is_understood(graph->nodes[i])) {
            return;
        }
        if (joins(first, i, next)) {
            owners[i] = used;
        }
    }
}

bool llamacli::steps::begins(ggml_tensor * op, step & next) const {
    const chosen_kernels found = kernels->kernels_of(op);
    next.ops[0] = op;
    next.kernels[0] = found.product;
    next.attention = found.attention;
    next.count = 1;
    if (found.attention) {
        next.compute = attend;
        return attention_work_size(threads, op, found.attention) <= work_size;
    }
    if (found.product && op->op == GGML_OP_MUL_MAT_ID && !is_of_one_token(op)) {
        next.compute = multiply_experts;
        return experts_work_size(threads, next) <= work_size;
    }
    if (found.product) {
        next.compute = multiply;
        return products_work_size(threads, next) <= work_size;
    }
    next.compute = compute_plain;
    return is_plain(op);
}

llamacli::step & llamacli::steps::empty_step() {
    if (used == all.size()) {
        ggml_tensor & node = all.emplace_back().node;
        node.op = GGML_OP_COUNT; // none of ggml's
        node.flags = GGML_TENSOR_FLAG_COMPUTE;
        std::fill_n(node.ne, GGML_MAX_DIMS, 1);
        node.extra = &all.back();
    }
    step & next = all[used++];
    next.tail_count = 0;
    next.in_rows = false;
    return next;
}

bool llamacli::steps::is_of(const ggml_cgraph & whole, const ggml_cplan & plan, const choice & of) const {
    return whole.uid && whole.uid == uid && plan.n_threads == threads && plan.work_size == work_size && of.key == key;
}

void llamacli::steps::divide(const ggml_cgraph & whole, const ggml_cplan & plan, const choice & of) {
    graph = &whole;
    kernels = &of;
    uid = whole.uid;
    work_size = plan.work_size;
    threads = plan.n_threads;
    key = of.key;
    owners.assign(whole.n_nodes, 0);
    nodes.clear();
    used = 0;
    for (int i = 0; i < whole.n_nodes; i++) {
        if (!is_due(i)) {
            continue;
        }
        step & next = empty_step();
        if (begins(whole.nodes[i], next)) {
            owners[i] = used;
            extend(i, next);
            nodes.push_back(&next.node);
        } else {
            used--;
            nodes.push_back(whole.nodes[i]);
        }
    }
}

ggml_cgraph llamacli::steps::graph_of_steps(const ggml_cgraph & whole) {
    for (size_t i = 0; i < used; i++) {
        all[i].taken.store(0, std::memory_order_relaxed);
    }
    ggml_cgraph shorter = whole;
    shorter.nodes = nodes.data();
    shorter.n_nodes = static_cast<int>(nodes.size());
    return shorter;
}
