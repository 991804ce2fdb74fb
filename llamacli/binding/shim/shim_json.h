// What the parts of the shim share: JSON answers, failures, and a thread with a large stack.
#pragma once

#include "ggml.h"
#include "json.h"

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

namespace llamacli {

using json = common_json;

constexpr size_t MAX_DEPTH = 200; // of nested JSON and nested template syntax: real ones stay below 20

// A failure with the kind that the caller turns into an exception class.
struct failure : std::runtime_error {
    failure(std::string kind, const std::string & message) : std::runtime_error(message), kind(std::move(kind)) {}
    std::string kind;
};

// Parses a request. Refuses what is nested deeper than MAX_DEPTH: the code behind recurses.
json parse_request(const char * text);

// Whether a request has a value under a key, and the value; an absent text is empty.
bool        has(const json & request, const char * key);
std::string text_of(const json & request, const char * key);
bool        flag_of(const json & request, const char * key, bool otherwise);

char * copy_text(const std::string & text) noexcept;
char * error_answer(const std::string & kind, const char * message) noexcept;

// Runs body on a thread with a stack of half a gigabyte (of address space, not of memory): templates, schemas and answers are
// handled by recursive code, and their size is in the hands of whoever wrote them. Exceptions come back to the caller.
void on_large_stack(const std::function<void()> & body);

// Whether less than an eighth of that thread's stack is in use. To be asked now and then by what recurses; the rest is for what
// cannot ask.
bool stack_left();

// While it lives, others that replace the log callback wait, and at its end the callback is what it was. llama.cpp has one for
// the process, and does not put it back when it leaves with an exception.
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

// Runs body, which returns a json, and answers with its text; exceptions that are not failures are of the given kind.
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

// Deletes an object whose destructor may recurse.
template <typename T> void release(T * object) noexcept {
    try {
        on_large_stack([&] { delete object; });
    } catch (...) { // no memory for the thread: better a leak than a crash
    }
}

} // namespace llamacli
