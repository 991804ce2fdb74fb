// Shared by the parts of the shim: JSON answers, failures, and a thread with a large stack.
#pragma once

#include "ggml.h"
#include "json.h"

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

namespace llamacli {

using json = common_json;

constexpr size_t MAX_DEPTH = 200; // of JSON and of template syntax; real ones stay below 20

// A failure with the kind that the caller turns into an exception class.
struct failure : std::runtime_error {
    failure(std::string kind, const std::string & message) : std::runtime_error(message), kind(std::move(kind)) {}
    std::string kind;
};

// Parses a request. Rejects nesting beyond MAX_DEPTH, because the code behind it recurses.
json parse_request(const char * text);

// Whether a request has a value for a key, and the value; a missing string is empty.
bool        has(const json & request, const char * key);
std::string text_of(const json & request, const char * key);
bool        flag_of(const json & request, const char * key, bool otherwise);

char * copy_text(const std::string & text) noexcept;
char * error_answer(const std::string & kind, const char * message) noexcept;

// Runs body on a thread with half a gigabyte of stack (of address space, not of memory), because recursive code handles templates
// and answers of any size. Exceptions propagate to the caller.
void on_large_stack(const std::function<void()> & body);

// Whether less than an eighth of that thread's stack is in use. Recursive code of ours checks this; the rest is for llama.cpp's,
// which does not.
bool stack_left();

// Restores the log callback at the end of its life; meanwhile other threads wait to replace it. llama.cpp has one callback per
// process, and does not restore it when an exception leaves its code.
class log_kept {
  public:
    log_kept();
    ~log_kept();
    log_kept(const log_kept &)             = delete;
    log_kept & operator=(const log_kept &) = delete;

  protected:
    ggml_log_callback callback;
    void *            user_data;
};

// Runs body, which returns a json, and returns its text; exceptions that are not failures become failures of the given kind.
template <typename Body> char * answer(const char * kind, Body && body) noexcept {
    try {
        std::string text;
        on_large_stack([&] { text = body().dump_safe(); });
        return copy_text(text);
    } catch (const failure & error) {
        return error_answer(error.kind, error.what());
    } catch (const std::bad_alloc &) {
        return error_answer("memory", "out of memory");
    } catch (const std::length_error &) {
        return error_answer("memory", "out of memory");
    } catch (const std::exception & error) {
        return error_answer(kind, error.what());
    } catch (...) {
        return error_answer("internal", "an unknown exception");
    }
}

// Deletes an object with a recursive destructor.
template <typename T> void release(T * object) noexcept {
    try {
        on_large_stack([&] { delete object; });
    } catch (...) { // no memory for the thread: a leak is better than a crash
    }
}

} // namespace llamacli
