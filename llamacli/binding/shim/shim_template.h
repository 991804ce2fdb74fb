// Jinja programs that run within bounds and record which text of a prompt came from input.
#pragma once

#include "jinja/parser.h"
#include "jinja/runtime.h"

#include <memory>
#include <string>
#include <vector>

namespace llamacli {

struct part {
    bool        is_input; // text of messages, tools and other values of the request, which must not become control tokens
    std::string text;
};

using parts = std::vector<part>;

std::string join(const parts & parts);

// Parses a template; rejects those too long or too deep for the recursive parser.
jinja::program parse_template(const std::string & source);

// Rewrites a parsed program so that, under a `watch`, it stays within bounds of time, recursion and size, filters keep the marks of
// input, and the watch receives the output.
void guard(jinja::program & program);

struct watch_state;

// Watches the guarded programs that this thread runs while the object lives. All runs share the bounds; those on size grow with
// the request.
class watch {
  public:
    watch(size_t request_size, double seconds);
    ~watch();
    watch(const watch &)             = delete;
    watch & operator=(const watch &) = delete;

    // Throws a failure if a bound was exceeded: llama.cpp swallows exceptions of templates in some places.
    void check() const;

    // The parts of `prompt`, found in the output of the programs. Text that llama.cpp added is not input, except `appended`, the
    // texts of an unfinished message at the end.
    parts parts_of(const std::string & prompt, const std::vector<std::string> & appended) const;

  private:
    std::unique_ptr<watch_state> state;
};

} // namespace llamacli
