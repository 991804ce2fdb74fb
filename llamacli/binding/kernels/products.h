// Products of matrices: one, or several of the same activations, with what is done to each element of their results. For one token
// they may be those of experts.
#pragma once

#include "work.h"

namespace llamacli {

// Bytes of the work buffer for these products.
size_t products_work_size(int threads, const step & of);

// Whether all threads share one quantized copy of the activations, and wait for it. Few are quantized by each thread for itself.
bool shares_columns(const ggml_tensor * op);

// Whether `multiply` computes this product of experts: that of one token.
inline bool is_of_one_token(const ggml_tensor * op) { return op->op == GGML_OP_MUL_MAT_ID && op->ne[2] == 1; }

void multiply(const ggml_compute_params * params, step & self);

} // namespace llamacli
