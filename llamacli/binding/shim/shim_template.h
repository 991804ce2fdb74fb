// Jinja programs that are watched while they run: kept within bounds, and telling which text of a prompt came from input.
#pragma once

#include "jinja/parser.h"
#include "jinja/runtime.h"

#include <memory>
#include <string>
#include <vector>

namespace llamacli {

struct part {
    bool        is_input; // text of messages, tools and other request values: never to become control tokens
    std::string text;
};

using parts = std::vector<part>;

std::string join(const parts & parts);

// Parses a template that is not too long or too deep for the recursive parser.
jinja::program parse_template(const std::string & source);

// Rewrites a parsed program so that, when it runs under a `watch`, it stays within bounds of time, recursion and size, text from
// input stays marked as such in filters that lose the mark, and the output is left in the watch.
void guard(jinja::program & program);

struct watch_state;

// Watches the guarded programs that this thread runs while the object lives. The bounds are for all runs together; those of
// size grow with the request.
class watch {
  public:
    watch(size_t request_size, double seconds);
    ~watch();
    watch(const watch &)             = delete;
    watch & operator=(const watch &) = delete;

    // Throws a failure if a bound was exceeded: llama.cpp swallows exceptions of templates in some places.
    void check() const;

    // The parts of `prompt`, found among what the programs gave out. Text that llama.cpp itself put there is not input, but for
    // `appended`, the texts of an unfinished message that it put at the end.
    parts parts_of(const std::string & prompt, const std::vector<std::string> & appended) const;

  private:
    std::unique_ptr<watch_state> state;
};

} // namespace llamacli
