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

constexpr size_t MAX_DEPTH = 200; // of JSON; real requests stay below 20

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

// The document of a failure.
std::string failure_text(const std::string & kind, const char * message);

// Runs body on a thread with half a gigabyte of stack (of address space, not of memory), because recursive code handles templates
// and answers of any size. Exceptions propagate to the caller.
void on_large_stack(const std::function<void()> & body);

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

// The text that body returns, or that of its failure; exceptions that are not failures become failures of the given kind.
template <typename Body> std::string text_or_failure(const char * kind, Body && body) {
    try {
        return body();
    } catch (const failure & error) {
        return failure_text(error.kind, error.what());
    } catch (const std::bad_alloc &) {
        return failure_text("memory", "out of memory");
    } catch (const std::length_error &) {
        return failure_text("memory", "out of memory");
    } catch (const std::exception & error) {
        return failure_text(kind, error.what());
    } catch (...) {
        return failure_text("internal", "an unknown exception");
    }
}

// Runs body on the large stack and returns its text, to be freed, or nullptr without memory for it. body must not throw failures.
char * answer_text(const std::function<std::string()> & body) noexcept;

// The same with the text of the json that body returns.
template <typename Body> char * answer(const char * kind, Body && body) noexcept {
    return answer_text([&] { return text_or_failure(kind, [&] { return body().dump_safe(); }); });
}

// Deletes an object with a recursive destructor.
template <typename T> void release(T * object) noexcept {
    try {
        on_large_stack([&] { delete object; });
    } catch (...) { // no memory for the thread: a leak is better than a crash
    }
}

} // namespace llamacli
