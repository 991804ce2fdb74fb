// What the memory and the arithmetic units of this machine give: see shim.h for how requests are answered.
#pragma once

#include "shim.h"

#ifdef __cplusplus
extern "C" {
#endif

// Reads `bytes` of memory again and again with `threads` threads, each its own part, for about `seconds`
// {"threads", "bytes", "seconds"} -> {"seconds": [of each pass], "bytes": read by a pass, "checksum"}
LLAMACLI_API char * llamacli_measure_reading(const char * request, const struct llamacli_abort * abort);

// Matrix products as a model has them, on one device, with weights in the buffers that llama.cpp would give them.
struct llamacli_products;

// {"device": name, "tokens": columns of the activations, "repeat": how often a pass computes each product, 1 unless given,
//  "products": [{"type": of the weights, "columns", "rows", "count": different matrices of this kind,
//                "experts", "used": of a mixture, 0 unless given}]}
// -> {"bytes": of weights that one pass reads, "operations": of one pass, "buffers": {type: name of the buffer's type}}
LLAMACLI_API char * llamacli_products_create(const char * request, struct llamacli_products ** products);
LLAMACLI_API void   llamacli_products_free(struct llamacli_products * products);

// Computes all products once, untimed, then again and again for about `seconds`, at least once unless `abort` is set
// {"threads", "seconds"} -> {"seconds": [of each pass]}
LLAMACLI_API char * llamacli_products_run(
    struct llamacli_products * products, const char * request, struct llamacli_abort * abort);

#ifdef __cplusplus
}
#endif
