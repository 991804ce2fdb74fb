// Flash attention: a piece of work is some rows of one head of keys and values, in one chunk of keys.
#pragma once

#include "work.h"

namespace llamacli {

size_t attention_work_size(int threads, const ggml_tensor * op, const attention_kernel * kernel);

void attend(const ggml_compute_params * params, step & self);

} // namespace llamacli
