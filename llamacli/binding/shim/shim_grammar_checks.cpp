// What is checked about grammars before llama.cpp sees them: see shim_grammar.h.
#include "shim_grammar.h"

#include "llama-grammar.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace llamacli {

namespace {

constexpr size_t MAX_GRAMMAR    = size_t(4) << 20; // bytes
constexpr size_t MAX_NESTING    = 1000;            // parentheses
constexpr size_t MAX_ELEMENTS   = 4000000;         // after repetitions are written out
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

// Behind the literal or character class that starts here.
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

// Reads {n}, {n,} or {n,m} and returns how often the item before is written out.
size_t read_repetition(const char *& at) {
    at                 = skip_space(at + 1);
    const size_t least = read_count(at);
    size_t       most  = least;
    at                 = skip_space(at);
    if (*at == ',') {
        at   = skip_space(at + 1);
        most = *at >= '0' && *at <= '9' ? read_count(at) : UNLIMITED;
    }
    if (most < least) { // llama.cpp counts from one to the other, around the largest number there is
        throw failure("grammar", "the repetition {" + std::to_string(least) + "," + std::to_string(most) + "} has its bounds reversed");
    }
    return std::min(most == UNLIMITED ? least : most, MAX_REPETITION);
}

bool ends(const llama_grammar_element & element) {
    return element.type == LLAMA_GRETYPE_END || element.type == LLAMA_GRETYPE_ALT;
}

std::string name_of(const llama_grammar_parser & parser, size_t rule) {
    for (const auto & [name, id] : parser.symbol_ids) {
        if (id == rule) {
            return name;
        }
    }
    return std::to_string(rule);
}

struct way_counter {
    enum progress : char { UNSEEN, OPEN, DONE };

    const llama_grammar_parser & parser;
    size_t                       at_most;
    std::vector<bool>            empty; // the rule may match nothing
    std::vector<size_t>          ways;
    std::vector<progress>        state;

    way_counter(const llama_grammar_parser & parser, size_t at_most) :
        parser(parser), at_most(at_most), empty(parser.rules.size()), ways(parser.rules.size()), state(parser.rules.size(), UNSEEN) {
        for (bool changed = true; changed;) {
            changed = false;
            for (size_t i = 0; i < parser.rules.size(); ++i) {
                if (!empty[i] && matches_nothing(parser.rules[i])) {
                    empty[i] = changed = true;
                }
            }
        }
    }

    bool passes(const llama_grammar_element & element) const {
        return element.type == LLAMA_GRETYPE_RULE_REF && empty[element.value];
    }

    bool matches_nothing(const llama_grammar_rule & rule) const {
        bool nothing = true;
        for (const auto & element : rule) {
            if (ends(element)) {
                if (nothing) {
                    return true;
                }
                nothing = true;
            } else {
                nothing = nothing && passes(element);
            }
        }
        return false;
    }

    size_t count(size_t rule) {
        if (state[rule] == OPEN) {
            throw failure("grammar", "left recursion: the rule " + name_of(parser, rule) + " can begin with itself");
        }
        if (state[rule] == DONE) {
            return ways[rule];
        }
        state[rule]   = OPEN;
        size_t total  = 0;
        bool   before = true; // all before in this alternative may match nothing
        for (const auto & element : parser.rules[rule]) {
            if (ends(element)) {
                total += before;
                before = true;
            } else if (before) {
                total += element.type == LLAMA_GRETYPE_RULE_REF ? count(element.value) : 1;
                before = passes(element);
            }
            if (total > at_most) {
                throw failure("grammar", "the grammar is too ambiguous");
            }
        }
        state[rule] = DONE;
        return ways[rule] = total;
    }

    // Elements of a rule that may match nothing lead on to what follows them, so that their ways add up.
    size_t most() {
        size_t result = 1;
        for (size_t i = 0; i < parser.rules.size(); ++i) {
            result = std::max(result, count(i));
        }
        for (const auto & rule : parser.rules) {
            size_t here = 0;
            for (const auto & element : rule) {
                here   = (passes(element) ? here : 0) + (element.type == LLAMA_GRETYPE_RULE_REF ? ways[element.value] : 1);
                result = std::max(result, here);
            }
        }
        return result;
    }
};

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
    size_t item     = 1; // elements of the item before
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

void parse_grammar(llama_grammar_parser & parser, const std::string & grammar) {
    for (const char * at = skip_space(grammar.c_str()); *at;) {
        at = parser.parse_rule(at);
    }
    for (const auto & [name, id] : parser.symbol_ids) {
        if (id >= parser.rules.size() || parser.rules[id].empty()) {
            throw failure("grammar", "the rule " + name + " is used but not defined");
        }
    }
}

size_t count_ways(const llama_grammar_parser & parser, size_t at_most) {
    return way_counter(parser, at_most).most();
}

} // namespace llamacli
