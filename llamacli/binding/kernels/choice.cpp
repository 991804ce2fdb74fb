#include "choice.h"

#ifdef LLAMACLI_KERNELS_X86
#include <cpuid.h>
#endif

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

bool llamacli_kernels_need_no_repacking(void) {
#ifdef LLAMACLI_KERNELS_X86
    constexpr unsigned amx_int8 = 1u << 25;
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool has_amx = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & amx_int8);
    return *llamacli_kernels_instructions() && !has_amx;
#else
    return false;
#endif
}
