// JSON answers, the thread with a large stack, and silencing of llama-common's log: see shim_json.h.
#include "shim.h"

#include "llama.h"
#include "log.h"
#include "shim_json.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>

#ifndef _WIN32
#    include <pthread.h>
#endif

namespace llamacli {

namespace {

// llama-common prints its log to stderr, from a thread that the first line starts. Below this threshold no line does. Answers and
// exceptions carry its messages.
const bool silenced = [] {
    common_log_set_verbosity_thold(INT_MIN);
    return true;
}();

std::mutex log_replacing;

constexpr size_t STACK_SIZE = size_t(512) << 20;

struct task {
    const std::function<void()> & body;
    std::exception_ptr            error;

    static void * run(void * self) {
        auto * that = static_cast<task *>(self);
        try {
            that->body();
        } catch (...) {
            that->error = std::current_exception();
        }
        return nullptr;
    }
};

size_t nesting(const char * text) {
    size_t depth   = 0;
    size_t deepest = 0;
    bool   quoted  = false;
    for (const char * c = text; *c; ++c) {
        if (quoted) {
            if (*c == '\\' && c[1]) {
                ++c;
            } else if (*c == '"') {
                quoted = false;
            }
        } else if (*c == '"') {
            quoted = true;
        } else if (*c == '[' || *c == '{') {
            deepest = std::max(deepest, ++depth);
        } else if ((*c == ']' || *c == '}') && depth > 0) {
            --depth;
        }
    }
    return deepest;
}

} // namespace

json parse_request(const char * text) {
    if (!text) {
        throw failure("usage", "no request");
    }
    if (nesting(text) > MAX_DEPTH) {
        throw failure("usage", "the JSON is nested more than " + std::to_string(MAX_DEPTH) + " deep");
    }
    return json::parse(text);
}

bool has(const json & request, const char * key) {
    return request.contains(key) && !request.at(key).is_null();
}

std::string text_of(const json & request, const char * key) {
    return has(request, key) ? request.at(key).get<std::string>() : "";
}

bool flag_of(const json & request, const char * key, bool otherwise) {
    return has(request, key) ? request.at(key).get<bool>() : otherwise;
}

std::string failure_text(const std::string & kind, const char * message) {
    return json{ { "error", { { "kind", kind }, { "message", message } } } }.dump_safe();
}

void on_large_stack(const std::function<void()> & body) {
    task work{ body, nullptr };
#ifndef _WIN32
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_t thread;
    int       failed = 1;
    for (size_t size = STACK_SIZE; failed && size >= size_t(16) << 20; size /= 2) { // a limit on address space may forbid the largest stack
        pthread_attr_setstacksize(&attributes, size);
        failed = pthread_create(&thread, &attributes, task::run, &work);
    }
    pthread_attr_destroy(&attributes);
    if (failed) {
        throw failure("memory", "out of memory for a thread");
    }
    pthread_join(thread, nullptr);
#else
    task::run(&work);
#endif
    if (work.error) {
        std::rethrow_exception(work.error);
    }
}

log_kept::log_kept() {
    log_replacing.lock();
    llama_log_get(&callback, &user_data);
}

log_kept::~log_kept() {
    llama_log_set(callback, user_data);
    log_replacing.unlock();
}

char * answer_text(const std::function<std::string()> & body) noexcept {
    const auto copied = [](const std::string & text) {
        auto * copy = static_cast<char *>(std::malloc(text.size() + 1));
        return copy ? static_cast<char *>(std::memcpy(copy, text.c_str(), text.size() + 1)) : nullptr;
    };
    try {
        std::string text;
        try {
            on_large_stack([&] { text = body(); });
        } catch (const failure & error) { // no memory for the thread
            text = failure_text(error.kind, error.what());
        }
        return copied(text);
    } catch (...) {
        return nullptr;
    }
}

} // namespace llamacli

extern "C" void llamacli_free(char * text) {
    std::free(text);
}
