// The interface between the watch (shim_template.cpp) and the nodes that report to it (shim_guard.cpp).
#pragma once

#include "shim_template.h"

#include <chrono>
#include <string>
#include <vector>

namespace llamacli {

struct watch_state {
    size_t                                max_text;   // bytes in one string
    size_t                                max_output; // bytes of output, counted again in each enclosing statement
    double                                seconds;
    std::chrono::steady_clock::time_point deadline;
    size_t                                produced = 0; // bytes of strings and lists made so far
    size_t                                checked  = 0; // its value at the last check of memory
    size_t                                output   = 0;
    size_t                                memory   = 0; // peak of resident memory at the start, bytes
    std::string                           exceeded; // the exceeded bound, or empty
    std::vector<parts>                    outputs;

    // Counts one step; throws when time or stack are exhausted.
    void step();
    // Counts allocated bytes; throws when the bound on memory is exceeded.
    void charge(size_t bytes);
    // Counts the bytes of a string or the elements of a list; throws when there are too many.
    void make_text(size_t bytes);
    void make_list(size_t elements);
    void make_list(size_t elements, size_t added);
    // Counts bytes of output.
    void give(size_t bytes);
    [[noreturn]] void stop(const std::string & reason);
};

// The watch on this thread, or nullptr.
watch_state * watched();

// --- values (shim_values.cpp) -------------------------------------------------------------------------------------------------

using values = std::vector<jinja::value>;

size_t text_size(const jinja::value & v); // in bytes, 0 for values that are not strings
bool   is_container(const jinja::value & v);

// Throws when a container is too deep or too large, counting shared values each time: llama.cpp's code for values recurses.
// Every operation that can deepen a container must call this.
void measure(watch_state & watch, const jinja::value & v);

// Throws when a container is too long to be serialized or compared.
void weigh(watch_state & watch, const jinja::value & v);

// Checks that `v` can be put into `holder`: throws when that is too deep or creates a cycle.
void check_insertion(watch_state & watch, const jinja::value & holder, const jinja::value & v);

// Checks the repetition of a string.
void check_product(watch_state & watch, const jinja::value & text, const jinja::value & times);

// Checks the application of a filter, method, function or test `name`: throws when it would crash, hang or allocate too much.
// `self` is the operand of a filter or method, or null.
void before(watch_state & watch, const std::string & name, const jinja::value & self, const values & args);

// Restores the input marks that some of llama.cpp's functions lose, in the result of `name` on `self`.
jinja::value after(const std::string & name, const jinja::value & self, const values & args, jinja::value result);

// A container with input in its serialized form, else the value itself.
jinja::value as_marked_text(const jinja::value & v);

} // namespace llamacli
