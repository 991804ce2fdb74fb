// Measurements of memory and arithmetic; shim.h describes requests and answers.
#pragma once

#include "shim.h"

#ifdef __cplusplus
extern "C" {
#endif

// Reads `bytes` of memory repeatedly for about `seconds`, with `threads` threads that each have a part
// {"threads", "bytes", "seconds"} -> {"seconds": [of each pass], "bytes": read by a pass, "checksum"}
LLAMACLI_API char * llamacli_measure_reading(const char * request, const struct llamacli_abort * abort);

// The matrix products of a model on one device, with weights in the buffer types that models are loaded into.
struct llamacli_products;

// {"device": name, "tokens": columns of the activations, "repeat": computations of each product in a pass (default 1),
//  "kernels": one of `enum llamacli_kernels`,
//  "products": [{"type": of the weights, "columns", "rows", "count": of distinct matrices of this kind,
//                "experts", "used": of a mixture of experts (default 0)}]}
// -> {"bytes": of weights that one pass reads, "operations": of one pass, "buffers": {type: name of the buffer's type}}
LLAMACLI_API char * llamacli_products_create(const char * request, struct llamacli_products ** products);
LLAMACLI_API void   llamacli_products_free(struct llamacli_products * products);

// Computes all products once, untimed, then repeatedly for about `seconds`, at least once unless `abort` is set
// {"threads", "seconds"} -> {"seconds": [of each pass]}
LLAMACLI_API char * llamacli_products_run(
    struct llamacli_products * products, const char * request, struct llamacli_abort * abort);

#ifdef __cplusplus
}
#endif
