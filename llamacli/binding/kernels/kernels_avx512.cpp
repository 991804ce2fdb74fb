// The kernels in AVX-512 with VNNI. This source alone is compiled with these instructions: it may share no inline function
// with others, and is entered only on a processor that has them.
#define LLAMACLI_COLUMNS 16
#include "simd_avx512.h"
#include "weights.h"
#include "weights_k.h"
#include "weights_tables.h"
#include "product.h"
#include "attention.h"

const llamacli::product_kernel * llamacli::product_avx512(int type) { return find_kernel(type); }

const llamacli::attention_kernel * llamacli::attention_avx512() { return &flash_attention; }
