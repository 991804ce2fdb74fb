// Work on templates, which come from model files and are not trusted, in a copy of the process: it may hang, crash or take memory.
#pragma once

#include "shim_json.h"

#include <functional>
#include <string>

namespace llamacli {

struct limits {
    double seconds; // of processor time
    size_t bytes;   // by which its memory may grow
};

// Runs `body` in a copy of this process, which has its memory but only the calling thread, and returns the text that body returns.
// Throws a failure that says how the copy ended, if not by itself.
std::string in_copy(const limits & limits, const std::function<std::string()> & body);

} // namespace llamacli
