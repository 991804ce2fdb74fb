// Products of a mixture of experts, ggml's MUL_MAT_ID: each column with the matrices of the experts that are chosen for its token.
#pragma once

#include "kernels.h"

struct ggml_compute_params;

namespace llamacli {

// Whether the results and the choices lie as `multiply_experts` needs them.
bool fits_experts(const ggml_tensor * op);

// The bytes of the work buffer.
size_t experts_work_size(int threads, const ggml_tensor * op, const product_kernel * kernel);

void multiply_experts(const ggml_compute_params * params, const ggml_tensor * op, const product_kernel * kernel);

} // namespace llamacli
