#include "choice.h"

static thread_local llamacli_kernels chosen = LLAMACLI_KERNELS_UPSTREAM;

void llamacli_choose_kernels(llamacli_kernels kernels) { chosen = kernels; }

llamacli_kernels llamacli_chosen_kernels(void) { return chosen; }

const char * llamacli_kernels_instructions(void) {
#ifdef LLAMACLI_KERNELS_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) {
        return "";
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni")) {
        return "AVX512_VNNI";
    }
    return "AVX2";
#else
    return "";
#endif
}
