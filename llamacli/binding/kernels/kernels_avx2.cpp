// The kernels in AVX2. This source alone is compiled with these instructions: it may share no inline function with others,
// and is entered only on a processor that has them.
#define LLAMACLI_COLUMNS 4
#include "simd_avx2.h"
#include "weights.h"
#include "weights_k.h"
#include "weights_tables.h"
#include "product.h"
#include "attention.h"

const llamacli::product_kernel * llamacli::product_avx2(int type) { return find_kernel(type); }

const llamacli::attention_kernel * llamacli::attention_avx2() { return &flash_attention; }
