// A grammar as the inner loop of sampling needs it; shim_step.h has the functions for Python.
#pragma once

#include "shim_step.h"

#include <string>
#include <vector>

namespace llamacli {

// Whether the token may come next.
bool allows(const llamacli_constraint & constraint, llama_token token);

// Removes the candidates that may not come next.
void remove_forbidden(const llamacli_constraint & constraint, std::vector<llama_token_data> & candidates);

// All tokens that may come next, with their logits.
void allowed_candidates(llamacli_constraint & constraint, const float * logits, int n, std::vector<llama_token_data> & out);

// The beginning of the text that must follow, up to about `most` bytes; empty where there is a choice.
std::string certain_text(llamacli_constraint & constraint, size_t most);

// Accepts a token, which must be allowed: llama.cpp aborts the process on some that are not.
void accept(llamacli_constraint & constraint, llama_token token);

} // namespace llamacli
