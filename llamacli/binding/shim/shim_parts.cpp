// The parts of a prompt: see shim_parts.h.
#include "shim_parts.h"

#include "shim_json.h"

#include <algorithm>
#include <utility>

namespace llamacli {

namespace {

thread_local std::vector<parts> * current = nullptr;

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

std::string join(const parts & parts) {
    std::string text;
    for (const auto & part : parts) {
        text += part.text;
    }
    return text;
}

void check_syntax(const std::string & source) {
    try {
        jinja::parse_from_tokens(jinja::lexer().tokenize(source));
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

std::vector<parts> * recorded() {
    return current;
}

recording::recording() {
    current = &outputs;
}

recording::~recording() {
    current = nullptr;
}

parts recording::parts_of(const std::string & prompt, const std::vector<std::string> & appended) const {
    const parts * best   = nullptr;
    size_t        prefix = 0;
    std::string   rendered;
    for (const auto & output : outputs) {
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
