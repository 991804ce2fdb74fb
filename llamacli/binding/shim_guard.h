// Between the watch (shim_template.cpp) and the nodes that report to it (shim_guard.cpp).
#pragma once

#include "shim_template.h"

#include <chrono>

namespace llamacli {

struct watch_state {
    size_t                                max_text;   // bytes in one string
    size_t                                max_output; // bytes that statements give out, each counted again in those around it
    std::chrono::steady_clock::time_point deadline;
    size_t                                steps    = 0;
    size_t                                produced = 0; // bytes of strings and lists made so far
    size_t                                checked  = 0; // of these, when memory was looked at last
    size_t                                output   = 0;
    size_t                                memory   = 0; // peak of resident memory at the start, bytes
    std::string                           exceeded; // what bound was, once one was
    std::vector<parts>                    outputs;

    // One step: throws when time or stack have run out.
    void step();
    // Throws when a value of that many bytes, or containers with that many elements, may not be made.
    void make_text(size_t bytes);
    void make_list(size_t elements);
    // A statement gave out that many bytes.
    void give(size_t bytes);
    [[noreturn]] void stop(const std::string & reason);
};

// The watch on this thread, or nullptr.
watch_state * watched();

} // namespace llamacli
