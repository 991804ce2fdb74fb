// JSON schemas to grammars, and llama.cpp's matcher without a vocabulary: see shim.h.
//
// llama.cpp's own entry to the GBNF parser prints to stderr, so that its parts are used here, after checks of what would crash or
// hang them.
#include "shim.h"

#include "json-schema-to-grammar.h"
#include "llama-grammar.h"
#include "shim_json.h"

#include <algorithm>
#include <limits>
#include <memory>

using llamacli::failure;
using llamacli::json;

struct llamacli_grammar {
    struct deleter {
        void operator()(llama_grammar * grammar) const { llama_grammar_free_impl(grammar); }
    };
    std::unique_ptr<llama_grammar, deleter> matcher;
    llama_grammar_stacks                    start;
    size_t                                  paths = 1; // the most ways on from any place
};

namespace {

constexpr size_t MAX_GRAMMAR  = size_t(4) << 20; // bytes
constexpr size_t MAX_NESTING  = 1000;            // parentheses
constexpr size_t MAX_ELEMENTS = 4000000;         // after repetitions are written out
constexpr size_t MAX_PATHS    = 100000;          // ways through rules to a first character
constexpr size_t MAX_WORK     = 20000000;        // stacks that one character may make

bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Skips space and comments.
const char * skip_space(const char * at) {
    while (is_space(*at) || *at == '#') {
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

// What makes llama.cpp's parser crash, loop or eat all memory. Anything else that is wrong it tells itself.
void check_text(const std::string & grammar) {
    if (grammar.size() > MAX_GRAMMAR) {
        throw failure("grammar", "the grammar is longer than 4 MiB");
    }
    if (grammar.find('\0') != std::string::npos) {
        throw failure("grammar", "the grammar contains a NUL");
    }
    size_t       nesting  = 0;
    size_t       elements = 0;
    size_t       item     = 1; // elements of the item before
    const char * at       = skip_space(grammar.c_str());
    while (*at) {
        const char * begin = at;
        if (*at == '"' || *at == '[') {
            at   = skip_quoted(at);
            item = size_t(at - begin);
        } else if (*at == '(') {
            if (++nesting > MAX_NESTING) {
                throw failure("grammar", "the grammar is nested more than " + std::to_string(MAX_NESTING) + " deep");
            }
            ++at;
        } else if (*at == ')') {
            nesting -= nesting > 0;
            item = 1;
            ++at;
        } else if (*at == '{') {
            at                 = skip_space(at + 1);
            const size_t least = read_count(at);
            size_t       most  = least;
            at                 = skip_space(at);
            if (*at == ',') {
                at   = skip_space(at + 1);
                most = *at >= '0' && *at <= '9' ? read_count(at) : std::numeric_limits<size_t>::max();
            }
            if (most < least) {
                throw failure("grammar", "the repetition {" + std::to_string(least) + "," + std::to_string(most) + "} has its bounds reversed");
            }
            elements += item * std::min<size_t>(most == std::numeric_limits<size_t>::max() ? least : most, 2000);
        } else {
            elements++;
            item = 1;
            ++at;
        }
        if (elements > MAX_ELEMENTS) {
            throw failure("grammar", "the grammar repeats too much");
        }
        at = skip_space(at);
    }
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

// In how many ways each rule can reach its first character. llama.cpp visits each of them, so that 40 rules of two choices
// would take it for ever. Throws for left recursion, too.
struct path_counter {
    const llama_grammar_parser & parser;
    std::vector<bool>            empty; // the rule may match nothing
    std::vector<size_t>          paths;
    std::vector<char>            state; // 0 not seen, 1 being counted, 2 counted

    explicit path_counter(const llama_grammar_parser & parser) :
        parser(parser), empty(parser.rules.size()), paths(parser.rules.size()), state(parser.rules.size()) {
        for (bool changed = true; changed;) {
            changed = false;
            for (size_t i = 0; i < parser.rules.size(); ++i) {
                if (!empty[i] && matches_nothing(parser.rules[i])) {
                    empty[i] = changed = true;
                }
            }
        }
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
                nothing = nothing && element.type == LLAMA_GRETYPE_RULE_REF && empty[element.value];
            }
        }
        return false;
    }

    size_t count(size_t rule) {
        if (state[rule] == 1) {
            throw failure("grammar", "left recursion: the rule " + name_of(parser, rule) + " can begin with itself");
        }
        if (state[rule] == 2) {
            return paths[rule];
        }
        state[rule]   = 1;
        size_t total  = 1;
        bool   before = true; // all before in this alternative may match nothing
        for (const auto & element : parser.rules[rule]) {
            if (ends(element)) {
                before = true;
                total++;
            } else if (before) {
                const bool reference = element.type == LLAMA_GRETYPE_RULE_REF;
                total += reference ? count(element.value) : 1;
                before = reference && empty[element.value];
            }
            if (total > MAX_PATHS) {
                throw failure("grammar", "the grammar is too ambiguous");
            }
        }
        state[rule] = 2;
        return paths[rule] = total;
    }
};

// A rule that is used in many places goes on in as many ways when it may be empty; the ways onward from any place are no more
// than those of all that may follow each other, which the sum over an alternative bounds.
size_t most_paths(path_counter & counter, const llama_grammar_parser & parser) {
    size_t most = 1;
    for (size_t i = 0; i < parser.rules.size(); ++i) {
        counter.count(i);
    }
    for (const auto & rule : parser.rules) {
        size_t here = 1;
        for (const auto & element : rule) {
            const bool reference = element.type == LLAMA_GRETYPE_RULE_REF;
            here                 = ends(element) ? 1 : reference ? (counter.empty[element.value] ? here : 1) + counter.paths[element.value] : 1;
            most                 = std::max(most, here);
        }
    }
    return most;
}

void parse(llama_grammar_parser & parser, const std::string & text) {
    for (const char * at = skip_space(text.c_str()); *at;) {
        at = parser.parse_rule(at);
    }
    for (const auto & [name, id] : parser.symbol_ids) {
        if (id >= parser.rules.size() || parser.rules[id].empty()) {
            throw failure("grammar", "the rule " + name + " is used but not defined");
        }
    }
}

void create(const json & request, llamacli_grammar & grammar) {
    const auto text = request.at("grammar").get<std::string>();
    const auto root = request.contains("root") ? request.at("root").get<std::string>() : "root";
    check_text(text);
    llama_grammar_parser parser;
    parse(parser, text);
    const auto start = parser.symbol_ids.find(root);
    if (start == parser.symbol_ids.end()) {
        throw failure("grammar", "the grammar has no rule " + root);
    }
    path_counter counter(parser);
    grammar.paths = most_paths(counter, parser);
    auto rules    = parser.c_rules();
    grammar.matcher.reset(llama_grammar_init_impl(nullptr, rules.data(), rules.size(), start->second));
    if (!grammar.matcher) {
        throw failure("grammar", "llama.cpp does not accept the grammar");
    }
    grammar.start = grammar.matcher->stacks;
}

// One byte; false when it is refused or the grammar was dead.
bool accept(llama_grammar & matcher, char byte) {
    if (matcher.stacks.empty()) {
        return false;
    }
    if (byte == '\0') { // for llama.cpp the end of a string
        if (matcher.partial_utf8.n_remain != 0) {
            matcher.stacks.clear();
        } else {
            llama_grammar_accept(&matcher, 0);
        }
        return !matcher.stacks.empty();
    }
    try {
        llama_grammar_accept_str(matcher, std::string(1, byte));
    } catch (const std::runtime_error &) { // which is how it refuses
        matcher.stacks.clear();
    }
    if (matcher.partial_utf8.n_remain < 0) { // not UTF-8
        matcher.stacks.clear();
    }
    return !matcher.stacks.empty();
}

} // namespace

extern "C" {

char * llamacli_schema_to_grammar(const char * request) {
    return llamacli::answer("schema", [&] {
        return json{ { "grammar", json_schema_to_grammar(llamacli::parse_request(request).at("schema")) } };
    });
}

char * llamacli_grammar_create(const char * request, llamacli_grammar ** grammar) {
    return llamacli::answer("grammar", [&] {
        auto made = std::make_unique<llamacli_grammar>();
        create(llamacli::parse_request(request), *made);
        *grammar = made.release();
        return json::object();
    });
}

void llamacli_grammar_free(llamacli_grammar * grammar) {
    delete grammar;
}

void llamacli_grammar_reset(llamacli_grammar * grammar) {
    grammar->matcher->stacks       = grammar->start;
    grammar->matcher->partial_utf8 = {};
}

int64_t llamacli_grammar_accept(llamacli_grammar * grammar, const char * bytes, size_t n_bytes) {
    try {
        for (size_t i = 0; i < n_bytes; ++i) {
            if (grammar->matcher->stacks.size() * grammar->paths > MAX_WORK) {
                grammar->matcher->stacks.clear();
                return -1;
            }
            if (!accept(*grammar->matcher, bytes[i])) {
                return (int64_t) i;
            }
        }
        return (int64_t) n_bytes;
    } catch (...) { // no memory
        grammar->matcher->stacks.clear();
        return -1;
    }
}

int32_t llamacli_grammar_state(const llamacli_grammar * grammar) {
    const auto & matcher = *grammar->matcher;
    if (matcher.stacks.empty()) {
        return 0;
    }
    const bool complete = matcher.partial_utf8.n_remain == 0 &&
                          std::any_of(matcher.stacks.begin(), matcher.stacks.end(), [](const auto & stack) { return stack.empty(); });
    return complete ? 3 : 1;
}

} // extern "C"
