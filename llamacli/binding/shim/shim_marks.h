// Marks of input in the values of a running template (shim_values.cpp), for the nodes of shim_nodes.h.
#pragma once

#include "shim_parts.h"

#include <string>
#include <vector>

namespace llamacli {

using values = std::vector<jinja::value>;

// Restores the marks that some of llama.cpp's filters and methods lose, in the result of `name` on `self`.
jinja::value with_marks(const std::string & name, const jinja::value & self, const values & args, jinja::value result);

// A container with input in its serialized form, else the value itself.
jinja::value as_marked_text(const jinja::value & v);

} // namespace llamacli
