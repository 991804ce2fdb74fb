// The way of our kernels into ggml's CPU backend: ggml-cpu.c is compiled with these functions in the place of
// `ggml_cpu_extra_work_size` and `ggml_cpu_extra_compute_forward`, which offer each operation to the types of repacked weights
// before anything else. What is not ours goes on to them. Its `ggml_graph_compute` is renamed, so that ours may hand it a graph of
// steps (steps.h).
#include "attend.h"
#include "choice.h"
#include "common.h"
#include "experts.h"
#include "products.h"
#include "steps.h"

#include "ggml-backend-impl.h"
#include "ggml-cpu.h"
#include "tiled/tiled.h"
#include "traits.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <string>

namespace {

using llamacli::attention_kernel;
using llamacli::chosen_kernels;
using llamacli::LINE;
using llamacli::product_kernel;
using llamacli::step;

constexpr size_t MOST_KEPT = 4; // graphs whose steps are kept

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
    const auto are_floats = [](const ggml_tensor * t) { return t->type == GGML_TYPE_F32 && t->nb[0] == sizeof(float); };
    const bool fits = are_floats(columns) && are_floats(op) && columns->ne[0] % 32 == 0 && op->nb[1] % sizeof(float) == 0 &&
        weights->nb[0] == ggml_type_size(weights->type) && is_here(weights);
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

chosen_kernels kernels_of(const ggml_tensor * op) {
    const int kernels = llamacli_chosen_kernels();
    return {product_of(op, kernels), attention_of(op, kernels)};
}

// --- the hook -------------------------------------------------------------------------------------------------------------------
size_t our_work_size(int threads, const ggml_tensor * op, const chosen_kernels & kernels) {
    if (kernels.attention) {
        return llamacli::attention_work_size(threads, op, kernels.attention);
    }
    step alone;
    alone.ops[0] = const_cast<ggml_tensor *>(op);
    alone.kernels[0] = kernels.product;
    alone.count = 1;
    const bool sorts = op->op == GGML_OP_MUL_MAT_ID && !llamacli::is_of_one_token(op);
    return sorts ? llamacli::experts_work_size(threads, alone) : llamacli::products_work_size(threads, alone);
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

// ggml's own, by another name: how it computes a graph once it is planned.
extern "C" ggml_status llamacli_compute_nodes(ggml_cgraph * graph, ggml_cplan * plan);

extern "C" bool llamacli_work_size(int threads, const ggml_tensor * op, size_t * size) {
    const chosen_kernels kernels = kernels_of(op);
    if (!kernels.product && !kernels.attention) {
        return ggml_cpu_extra_work_size(threads, op, size);
    }
    *size = std::max(our_work_size(threads, op, kernels), their_work_size(threads, op));
    return true;
}

extern "C" bool llamacli_compute_forward(ggml_compute_params * params, ggml_tensor * op) {
    if (op->op != GGML_OP_COUNT) {
        return ggml_cpu_extra_compute_forward(params, op);
    }
    auto & next = *static_cast<step *>(op->extra);
    next.compute(params, next);
    return true;
}

ggml_status ggml_graph_compute(ggml_cgraph * graph, ggml_cplan * plan) {
    const llamacli::choice choice = {llamacli_chosen_kernels(), kernels_of};
    if (plan->use_ref || words_of(choice.key) == words::none) {
        return llamacli_compute_nodes(graph, plan);
    }
    static thread_local std::deque<std::unique_ptr<llamacli::steps>> kept; // of graphs that come again, the newest last
    auto found = std::find_if(kept.begin(), kept.end(), [&](const auto & steps) { return steps->is_of(*graph, *plan, choice); });
    const bool is_divided = found != kept.end();
    if (!is_divided) {
        found = kept.size() < MOST_KEPT ? kept.insert(kept.end(), std::make_unique<llamacli::steps>()) : kept.begin();
    }
    std::unique_ptr<llamacli::steps> steps = std::move(*found); // an operation may compute a graph of its own
    kept.erase(found);
    if (!is_divided) {
        steps->divide(*graph, *plan, choice);
    }
    ggml_cgraph shorter = steps->graph_of_steps(*graph);
    const ggml_status status = llamacli_compute_nodes(&shorter, plan);
    kept.push_back(std::move(steps));
    return status;
}
