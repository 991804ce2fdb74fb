// Between the watch (shim_template.cpp) and the nodes that report to it (shim_guard.cpp).
#pragma once

#include "shim_template.h"

#include <chrono>
#include <string>
#include <vector>

namespace llamacli {

struct watch_state {
    size_t                                max_text;   // bytes in one string
    size_t                                max_output; // bytes that statements give out, each counted again in those around it
    double                                seconds;
    std::chrono::steady_clock::time_point deadline;
    size_t                                produced = 0; // bytes of strings and lists made so far
    size_t                                checked  = 0; // of these, when memory was looked at last
    size_t                                output   = 0;
    size_t                                memory   = 0; // peak of resident memory at the start, bytes
    std::string                           exceeded; // what bound was, once one was
    std::vector<parts>                    outputs;

    // One step: throws when time or stack have run out.
    void step();
    // That many bytes are made: throws when memory runs out.
    void charge(size_t bytes);
    // A string of that many bytes, or a list of that many elements, is made: throws when it is too large.
    void make_text(size_t bytes);
    void make_list(size_t elements);
    void make_list(size_t elements, size_t added);
    // A statement gave out that many bytes.
    void give(size_t bytes);
    [[noreturn]] void stop(const std::string & reason);
};

// The watch on this thread, or nullptr.
watch_state * watched();

// --- values (shim_values.cpp) -------------------------------------------------------------------------------------------------

using values = std::vector<jinja::value>;

size_t text_size(const jinja::value & v); // in bytes, 0 for what is no string
bool   is_container(const jinja::value & v);

// Throws when a container is too deep or too large, with shared values counted each time: llama.cpp's code for values recurses.
// Whatever can make a container deeper is to be measured.
void measure(watch_state & watch, const jinja::value & v);

// Throws when a container is too long to be written out or compared.
void weigh(watch_state & watch, const jinja::value & v);

// `holder` gets `v` into it: throws when that is too deep or makes a circle.
void check_insertion(watch_state & watch, const jinja::value & holder, const jinja::value & v);

// A text is repeated.
void check_product(watch_state & watch, const jinja::value & text, const jinja::value & times);

// A filter, method, function or test `name` is about to be applied: throws when that would crash, hang or take too much.
// `self` is what a filter or method is applied to, or null.
void before(watch_state & watch, const std::string & name, const jinja::value & self, const values & args);

// What `name` made of `self`, with the marks of input that some of llama.cpp's functions lose.
jinja::value after(const std::string & name, const jinja::value & self, const values & args, jinja::value result);

// A container with input, as it is written out, else the value itself.
jinja::value as_marked_text(const jinja::value & v);

} // namespace llamacli
