// Which memory operations read and write: what decides whether they may be computed at the same time.
#pragma once

#include "ggml.h"

namespace llamacli {

// Whether both have bytes between the first and the last one of the other.
inline bool overlap(const ggml_tensor * a, const ggml_tensor * b) {
    const auto *from_a = static_cast<const char *>(a->data), *from_b = static_cast<const char *>(b->data);
    return !from_a || !from_b || (from_a < from_b + ggml_nbytes(b) && from_b < from_a + ggml_nbytes(a));
}

// Whether neither operation writes what the other one reads or writes.
inline bool are_independent(const ggml_tensor * a, const ggml_tensor * b) {
    if (overlap(a, b)) {
        return false;
    }
    for (int i = 0; i < GGML_MAX_SRC; i++) {
        if ((a->src[i] && overlap(a->src[i], b)) || (b->src[i] && overlap(b->src[i], a))) {
            return false;
        }
    }
    return true;
}

// Whether both have the same elements at the same places.
inline bool are_same_elements(const ggml_tensor * a, const ggml_tensor * b) {
    return a->data == b->data && ggml_are_same_shape(a, b) && ggml_are_same_stride(a, b);
}

// Whether a tail may follow an operation for each part of the rows as soon as that part is there: other parts are neither read nor
// overwritten. `is_product`: its sources are read as a whole.
inline bool may_follow(const ggml_tensor * tail, const ggml_tensor * op, bool is_product) {
    const auto apart = [](const ggml_tensor * a, const ggml_tensor * b) { return are_same_elements(a, b) || !overlap(a, b); };
    if (!apart(tail, op)) {
        return false;
    }
    for (int i = 0; i < GGML_MAX_SRC; i++) {
        const ggml_tensor *read = tail->src[i], *read_before = op->src[i];
        if (read && !apart(read, op)) {
            return false;
        }
        if (read_before && !(is_product ? !overlap(read_before, tail) : apart(read_before, tail))) {
            return false;
        }
    }
    return true;
}

} // namespace llamacli
