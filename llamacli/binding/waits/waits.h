// How the threads that compute a graph wait for each other: lives in ggml-base, so that every variant of the CPU backend shares it.
#pragma once

#include "ggml.h"

#ifdef __cplusplus
extern "C" {
#endif

// True: as the load of the machine demands (barrier.cpp), where that is built. At first it is false: as OpenMP does.
GGML_API void llamacli_follow_load(bool follow);
GGML_API bool llamacli_follows_load(void);

#ifdef __cplusplus
}
#endif
