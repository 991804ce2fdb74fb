// Jinja programs that record which text of a prompt came from input.
#pragma once

#include "jinja/parser.h"
#include "jinja/runtime.h"

#include <string>
#include <vector>

namespace llamacli {

struct part {
    bool        is_input; // text of messages, tools and other values of the request, which must not become control tokens
    std::string text;
};

using parts = std::vector<part>;

std::string join(const parts & parts);

// Throws a failure that says where and why a template does not parse.
void check_syntax(const std::string & source);

// Rewrites a parsed program so that its filters keep the marks of input, and a recording receives its output.
void keep_marks(jinja::program & program);

// Records the output of the programs that this thread runs while the object lives.
class recording {
  public:
    recording();
    ~recording();
    recording(const recording &)             = delete;
    recording & operator=(const recording &) = delete;

    // The parts of `prompt`, found in the output of the programs. Text that llama.cpp added is not input, except `appended`, the
    // texts of an unfinished message at the end.
    parts parts_of(const std::string & prompt, const std::vector<std::string> & appended) const;

  private:
    std::vector<parts> outputs;
};

// The outputs of the recording on this thread, or nullptr.
std::vector<parts> * recorded();

} // namespace llamacli
