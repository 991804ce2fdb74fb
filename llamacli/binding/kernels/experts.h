// Products of a mixture of experts, ggml's MUL_MAT_ID: each column with the matrices of the experts that are chosen for its token.
#pragma once

#include "work.h"

namespace llamacli {

// Whether the results and the choices lie as `multiply_experts` needs them.
bool fits_experts(const ggml_tensor * op);

// Bytes of the work buffer.
size_t experts_work_size(int threads, const step & of);

void multiply_experts(const ggml_compute_params * params, step & self);

} // namespace llamacli
