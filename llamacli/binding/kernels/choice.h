// Which kernels compute on the CPU: lives in ggml-base, so that every variant of the CPU backend and the shim share it.
#pragma once

#include "ggml.h"

#ifdef __cplusplus
extern "C" {
#endif

enum llamacli_kernels {
    LLAMACLI_KERNELS_UPSTREAM = 0, // ggml's own, to the bit
    LLAMACLI_KERNELS_AVX2     = 1, // ours, without wider instructions
    LLAMACLI_KERNELS_BEST     = 2, // ours, with the widest instructions that this processor has
};

// The choice of a thread holds for all graphs that it plans from now on, whichever threads compute them. At first it is upstream.
GGML_API void llamacli_choose_kernels(enum llamacli_kernels kernels);
GGML_API enum llamacli_kernels llamacli_chosen_kernels(void);

// The instructions of the best here: "AVX512_VNNI", "AVX2", or "" if none suit this processor and all choices mean ggml's own.
GGML_API const char * llamacli_kernels_instructions(void);

// Whether ours are at least as fast with weights as they are in the file as ggml's with repacked ones: not where ggml has AMX.
GGML_API bool llamacli_kernels_need_no_repacking(void);

#ifdef __cplusplus
}
#endif
