// Importance matrices: the squares of what each matrix of a model is multiplied with, added up while texts are evaluated. Plain C.
#pragma once

#include "shim_step.h" // LLAMACLI_API

#ifdef __cplusplus
extern "C" {
#endif

struct llamacli_imatrix;

// with_output also collects for the matrix that gives the logits. Returns NULL when out of memory.
LLAMACLI_API struct llamacli_imatrix * llamacli_imatrix_new(bool with_output);
LLAMACLI_API void llamacli_imatrix_free(struct llamacli_imatrix * imatrix); // after the contexts that use it

// cb_eval of a context, with the collector as its user data. It ends the evaluation when the collector has failed.
LLAMACLI_API bool llamacli_imatrix_callback(struct ggml_tensor * tensor, bool ask, void * imatrix);

// Why collecting failed, or NULL. Valid as long as the collector.
LLAMACLI_API const char * llamacli_imatrix_error(const struct llamacli_imatrix * imatrix);

// The entries, in the order of their names: number, name, number of sums, number of counts (that of matrices in the tensor).
LLAMACLI_API int32_t llamacli_imatrix_size(const struct llamacli_imatrix * imatrix);
LLAMACLI_API const char * llamacli_imatrix_name(const struct llamacli_imatrix * imatrix, int32_t index);
LLAMACLI_API int64_t llamacli_imatrix_n_sums(const struct llamacli_imatrix * imatrix, int32_t index);
LLAMACLI_API int64_t llamacli_imatrix_n_counts(const struct llamacli_imatrix * imatrix, int32_t index);
LLAMACLI_API const float * llamacli_imatrix_sums(const struct llamacli_imatrix * imatrix, int32_t index);
LLAMACLI_API const int64_t * llamacli_imatrix_counts(const struct llamacli_imatrix * imatrix, int32_t index);

#ifdef __cplusplus
}
#endif
