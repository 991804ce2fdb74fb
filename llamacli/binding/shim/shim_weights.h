// How far the weights of two files are apart. Plain C.
#pragma once

#include "shim_step.h" // LLAMACLI_API

#ifdef __cplusplus
extern "C" {
#endif

// Sums over pairs of values a and b; largest is the largest |a - b|. Pairs with a value that is not finite are only counted.
struct llamacli_difference {
    double  squared_error;
    double  largest;
    double  squared_a;
    double  squared_b;
    double  product;
    int64_t n_values;
    int64_t n_not_finite;
};

// Adds up the pairs of two rows of values of any types. Returns false for types without values, and for a number of values that
// is not a multiple of both types' blocks.
LLAMACLI_API bool llamacli_compare_values(
    enum ggml_type type_a, const uint8_t * a, enum ggml_type type_b, const uint8_t * b, int64_t n_values,
    struct llamacli_difference * difference);

#ifdef __cplusplus
}
#endif
