// Bounds of the grammars of tools, which llama.cpp generates: see shim_grammar.h.
#include "shim_grammar.h"

#include <algorithm>
#include <limits>

namespace llamacli {

namespace {

constexpr size_t MAX_GRAMMAR    = size_t(4) << 20; // bytes
constexpr size_t MAX_NESTING    = 1000;            // parentheses
constexpr size_t MAX_ELEMENTS   = 4000000;         // after repetitions are expanded
constexpr size_t MAX_REPETITION = 2000;            // llama.cpp's own bound
constexpr size_t UNLIMITED      = std::numeric_limits<size_t>::max();

// Skips space and comments.
const char * skip_space(const char * at) {
    while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n' || *at == '#') {
        if (*at == '#') {
            while (*at && *at != '\r' && *at != '\n') {
                ++at;
            }
        } else {
            ++at;
        }
    }
    return at;
}

// The end of the literal or character class that starts here.
const char * skip_quoted(const char * at) {
    const char end = *at == '"' ? '"' : ']';
    for (++at; *at && *at != end; ++at) {
        if (*at == '\\' && at[1]) {
            ++at;
        }
    }
    return *at ? at + 1 : at;
}

size_t read_count(const char *& at) {
    size_t n = 0;
    while (*at >= '0' && *at <= '9') {
        n = std::min<size_t>(n * 10 + (*at++ - '0'), std::numeric_limits<int32_t>::max());
    }
    return n;
}

// Reads {n}, {n,} or {n,m} and returns the number of copies of the item before it.
size_t read_repetition(const char *& at) {
    at                 = skip_space(at + 1);
    const size_t least = read_count(at);
    size_t       most  = least;
    at                 = skip_space(at);
    if (*at == ',') {
        at   = skip_space(at + 1);
        most = *at >= '0' && *at <= '9' ? read_count(at) : UNLIMITED;
    }
    if (most < least) { // llama.cpp counts up from the larger one, and wraps around
        throw failure("grammar", "the repetition {" + std::to_string(least) + "," + std::to_string(most) + "} has its bounds reversed");
    }
    return std::min(most == UNLIMITED ? least : most, MAX_REPETITION);
}

} // namespace

void check_grammar_text(const std::string & grammar) {
    if (grammar.size() > MAX_GRAMMAR) {
        throw failure("grammar", "the grammar is longer than 4 MiB");
    }
    if (grammar.find('\0') != std::string::npos) {
        throw failure("grammar", "the grammar contains a NUL");
    }
    size_t nesting  = 0;
    size_t elements = 0;
    size_t item     = 1; // elements of the previous item
    for (const char * at = skip_space(grammar.c_str()); *at; at = skip_space(at)) {
        const char * begin = at;
        if (*at == '"' || *at == '[') {
            at   = skip_quoted(at);
            item = size_t(at - begin);
            elements += item;
        } else if (*at == '{') {
            elements += item * read_repetition(at);
        } else {
            nesting += *at == '(' ? 1 : 0;
            nesting -= *at == ')' && nesting > 0 ? 1 : 0;
            item = 1;
            elements++;
            ++at;
        }
        if (nesting > MAX_NESTING) {
            throw failure("grammar", "the grammar is nested more than " + std::to_string(MAX_NESTING) + " deep");
        }
        if (elements > MAX_ELEMENTS) {
            throw failure("grammar", "the grammar repeats too much");
        }
    }
}

} // namespace llamacli
