// How far the weights of two files are apart: see shim_weights.h.
#include "shim_weights.h"

#include <algorithm>
#include <cmath>

namespace {

constexpr int64_t STRIP = 4096; // values at a time: a multiple of every type's block, and both strips stay in the first cache

bool is_known(ggml_type type) {
    if (type < 0 || type >= GGML_TYPE_COUNT) {
        return false;
    }
    return type == GGML_TYPE_F32 || ggml_get_type_traits(type)->to_float != nullptr;
}

// The values as floats: those in place, or converted into the buffer.
const float * values_of(ggml_type type, const uint8_t * data, int64_t begin, int64_t count, float * buffer) {
    const uint8_t * at = data + ggml_row_size(type, begin);
    if (type == GGML_TYPE_F32) {
        std::copy_n(at, count * static_cast<int64_t>(sizeof(float)), reinterpret_cast<uint8_t *>(buffer)); // it may lie anywhere
    } else {
        ggml_get_type_traits(type)->to_float(at, buffer, count);
    }
    return buffer;
}

} // namespace

extern "C" bool llamacli_compare_values(
    ggml_type type_a, const uint8_t * a, ggml_type type_b, const uint8_t * b, int64_t n_values, llamacli_difference * difference) {
    if (!is_known(type_a) || !is_known(type_b)) {
        return false;
    }
    if (n_values % ggml_blck_size(type_a) != 0 || n_values % ggml_blck_size(type_b) != 0) {
        return false;
    }
    llamacli_difference found{};
    float               strip_a[STRIP];
    float               strip_b[STRIP];
    for (int64_t begin = 0; begin < n_values; begin += STRIP) {
        const int64_t count = std::min(STRIP, n_values - begin);
        const float * left  = values_of(type_a, a, begin, count, strip_a);
        const float * right = values_of(type_b, b, begin, count, strip_b);
        for (int64_t i = 0; i < count; ++i) {
            const double x = left[i];
            const double y = right[i];
            if (!std::isfinite(x) || !std::isfinite(y)) {
                found.n_not_finite++;
                continue;
            }
            found.squared_error += (x - y) * (x - y);
            found.largest = std::max(found.largest, std::fabs(x - y));
            found.squared_a += x * x;
            found.squared_b += y * y;
            found.product += x * y;
        }
    }
    found.n_values = n_values;
    *difference    = found;
    return true;
}
