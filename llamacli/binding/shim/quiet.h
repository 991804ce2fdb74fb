/* Included before a few of llama.cpp's sources, which write to stderr instead of the log: what they say goes to the log, too. */
#pragma once

#ifdef __cplusplus
#    include <cstdio> /* which undefines the macro */
#endif
#include <stdio.h>

#include "ggml.h"

#ifdef __cplusplus
extern "C" {
#endif

GGML_ATTRIBUTE_FORMAT(2, 3)
GGML_API void ggml_log_internal(enum ggml_log_level level, const char * format, ...);

#ifdef __cplusplus
}
#endif

#define fprintf(stream, ...) \
    ((stream) == stderr ? (ggml_log_internal(GGML_LOG_LEVEL_WARN, __VA_ARGS__), 0) : (fprintf)(stream, __VA_ARGS__))
