// Bounds around a Jinja program: see shim_template.h. Templates come from model files, which are not trusted.
#include "shim_guard.h"
#include "shim_json.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

#ifndef _WIN32
#    include <sys/resource.h>
#endif

namespace llamacli {

namespace {

constexpr size_t MAX_SOURCE   = size_t(4) << 20;   // bytes; real templates stay below 100 kB
constexpr size_t MAX_TAG      = 20000;             // tokens in one tag: a chain of operators is as deep a syntax tree
constexpr size_t MAX_ELEMENTS = 200000;            // in one list
constexpr size_t MEMORY_CHECK = size_t(64) << 20;  // bytes produced between two checks of memory
constexpr size_t MAX_MEMORY   = size_t(1) << 30;   // bytes by which it may grow

thread_local watch_state * current = nullptr;

// The peak of resident memory in bytes, or 0 if unknown.
size_t peak_memory() {
#ifdef _WIN32
    return 0;
#else
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
#    ifdef __APPLE__
    return size_t(usage.ru_maxrss);
#    else
    return size_t(usage.ru_maxrss) * 1024;
#    endif
#endif
}

// One {{ }} or {% %}.
struct tag {
    size_t      tokens   = 0;
    size_t      brackets = 0;     // the deepest
    bool        assigns  = false; // has an = outside brackets
    std::string name;             // of the statement

    tag(const std::vector<jinja::token> & all, size_t begin) {
        using jinja::token;
        size_t open = 0;
        for (size_t i = begin + 1; i < all.size() && all[i].t != token::text && all[i].t != token::comment; ++i, ++tokens) {
            switch (all[i].t) {
                case token::open_paren:
                case token::open_square_bracket:
                case token::open_curly_bracket:
                    brackets = std::max(brackets, ++open);
                    break;
                case token::close_paren:
                case token::close_square_bracket:
                case token::close_curly_bracket:
                    open -= open > 0;
                    break;
                case token::equals:
                    assigns = assigns || open == 0;
                    break;
                case token::close_statement:
                case token::close_expression:
                    return;
                default:
                    if (tokens == 0 && all[begin].t == token::open_statement) {
                        name = all[i].value;
                    }
            }
        }
    }

    bool opens_block() const {
        return name == "if" || name == "for" || name == "macro" || name == "call" || name == "filter" || (name == "set" && !assigns);
    }
    bool closes_block() const { return name.compare(0, 3, "end") == 0 && name != "endgeneration"; }
};

void check_nesting(const std::vector<jinja::token> & tokens) {
    std::vector<size_t> blocks; // depth of each open block: the parser nests each elif in the one before
    size_t              depth = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (tokens[i].t != jinja::token::open_statement && tokens[i].t != jinja::token::open_expression) {
            continue;
        }
        const tag now(tokens, i);
        if (now.opens_block()) {
            blocks.push_back(1);
            depth++;
        } else if (now.name == "elif" && !blocks.empty()) {
            blocks.back()++;
            depth++;
        } else if (now.closes_block() && !blocks.empty()) {
            depth -= blocks.back();
            blocks.pop_back();
        }
        if (depth > MAX_DEPTH || now.brackets > MAX_DEPTH || now.tokens > MAX_TAG) {
            throw failure("template", "the chat template is nested too deeply");
        }
        i += now.tokens;
    }
}

size_t common_prefix(const std::string & a, const std::string & b) {
    const size_t n = std::min(a.size(), b.size());
    size_t       i = 0;
    while (i < n && a[i] == b[i]) {
        i++;
    }
    while (i > 0 && i < a.size() && (static_cast<unsigned char>(a[i]) & 0xC0) == 0x80) { // not within a character
        i--;
    }
    return i;
}

size_t common_suffix(const std::string & a, const std::string & b, size_t at_most) {
    size_t i = 0;
    while (i < at_most && a[a.size() - 1 - i] == b[b.size() - 1 - i]) {
        i++;
    }
    while (i > 0 && (static_cast<unsigned char>(a[a.size() - i]) & 0xC0) == 0x80) {
        i--;
    }
    return i;
}

void add(parts & all, bool is_input, const std::string & text) {
    if (text.empty()) {
        return;
    }
    if (!all.empty() && all.back().is_input == is_input) {
        all.back().text += text;
    } else {
        all.push_back({ is_input, text });
    }
}

// The bytes [from, to) of `all`, added to `result`.
void add_range(parts & result, const parts & all, size_t from, size_t to) {
    size_t at = 0;
    for (const auto & part : all) {
        const size_t begin = std::max(from, at);
        const size_t end   = std::min(to, at + part.text.size());
        if (begin < end) {
            add(result, part.is_input, part.text.substr(begin - at, end - begin));
        }
        at += part.text.size();
    }
}

} // namespace

watch_state * watched() {
    return current;
}

std::string join(const parts & parts) {
    std::string text;
    for (const auto & part : parts) {
        text += part.text;
    }
    return text;
}

jinja::program parse_template(const std::string & source) {
    if (source.size() > MAX_SOURCE) {
        throw failure("template", "the chat template is longer than 4 MiB");
    }
    try {
        const auto tokens = jinja::lexer().tokenize(source);
        check_nesting(tokens.tokens);
        return jinja::parse_from_tokens(tokens);
    } catch (const failure &) {
        throw;
    } catch (const std::out_of_range &) { // from parsing a number
        throw failure("template", "parser: a number is too large");
    } catch (const std::exception & error) {
        const std::string message = error.what();
        if (message.compare(0, 7, "parser:") == 0 || message.compare(0, 6, "lexer:") == 0) {
            throw failure("template", message);
        }
        throw failure("template", "parser: " + (message == "Unexpected token type" ? "it ends within a block" : message));
    }
}

void watch_state::stop(const std::string & reason) {
    if (exceeded.empty()) {
        exceeded = "the chat template " + reason;
    }
    throw failure("template", exceeded);
}

void watch_state::step() {
    if (!exceeded.empty()) {
        stop("");
    }
    if (!stack_left()) {
        stop("recurses without end");
    }
    if (std::chrono::steady_clock::now() > deadline) {
        char text[64];
        std::snprintf(text, sizeof(text), "runs for more than %g seconds", seconds);
        stop(text);
    }
}

void watch_state::make_text(size_t bytes) {
    if (bytes > max_text) {
        stop("makes a text of more than " + std::to_string(max_text >> 20) + " MiB");
    }
    charge(bytes);
}

void watch_state::charge(size_t bytes) {
    produced += bytes;
    if (produced - checked > MEMORY_CHECK) {
        checked = produced;
        if (peak_memory() > memory + MAX_MEMORY) {
            stop("takes more than 1 GiB of memory");
        }
    }
}

void watch_state::make_list(size_t elements) {
    make_list(elements, elements);
}

void watch_state::make_list(size_t elements, size_t added) {
    if (elements > MAX_ELEMENTS) {
        stop("makes a list of more than " + std::to_string(MAX_ELEMENTS) + " elements");
    }
    charge(added * sizeof(jinja::value)); // the elements themselves were counted at their creation
}

void watch_state::give(size_t bytes) {
    output += bytes;
    if (output > max_output) {
        stop("gives out text without end");
    }
    charge(bytes);
}

watch::watch(size_t request_size, double seconds) : state(std::make_unique<watch_state>()) {
    state->max_text   = (size_t(16) << 20) + 8 * request_size;
    state->max_output = (size_t(256) << 20) + 64 * request_size;
    state->seconds    = std::min(std::max(seconds, 0.0), 1e6);
    state->deadline   = std::chrono::steady_clock::now() + std::chrono::milliseconds(int64_t(state->seconds * 1000));
    state->memory     = peak_memory();
    current           = state.get();
}

watch::~watch() {
    current = nullptr;
}

void watch::check() const {
    if (!state->exceeded.empty()) {
        throw failure("template", state->exceeded);
    }
}

parts watch::parts_of(const std::string & prompt, const std::vector<std::string> & appended) const {
    const parts * best   = nullptr;
    size_t        prefix = 0;
    std::string   rendered;
    for (const auto & output : state->outputs) {
        std::string  text  = join(output);
        const size_t alike = common_prefix(text, prompt);
        // With an unfinished message the prompt is the whole output of a program, and more.
        if ((!best || alike > prefix || (alike == prefix && text.size() < rendered.size())) && (appended.empty() || alike == text.size())) {
            best     = &output;
            prefix   = alike;
            rendered = std::move(text);
        }
    }
    const size_t suffix = common_suffix(rendered, prompt, std::min(rendered.size(), prompt.size()) - prefix);
    parts        result;
    if (best) {
        add_range(result, *best, 0, prefix);
    }
    size_t at = prefix; // text that llama.cpp inserted or appended
    for (const auto & text : appended) {
        const size_t found = text.empty() ? std::string::npos : prompt.find(text, at);
        if (found != std::string::npos && found + text.size() <= prompt.size() - suffix) {
            add(result, false, prompt.substr(at, found - at));
            add(result, true, text);
            at = found + text.size();
        }
    }
    add(result, false, prompt.substr(at, prompt.size() - suffix - at));
    if (best) {
        add_range(result, *best, rendered.size() - suffix, rendered.size());
    }
    return result;
}

} // namespace llamacli
