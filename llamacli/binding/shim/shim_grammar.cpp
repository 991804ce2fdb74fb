// llama.cpp's grammar matcher without a vocabulary: see shim.h.
#include "shim_grammar.h"

#include "shim.h"

#include "llama-grammar.h"

#include <algorithm>
#include <memory>

using llamacli::failure;
using llamacli::json;

struct llamacli_grammar {
    struct deleter {
        void operator()(llama_grammar * grammar) const { llama_grammar_free_impl(grammar); }
    };
    std::unique_ptr<llama_grammar, deleter> matcher;
    llama_grammar_stacks                    start;
    size_t                                  ways = 1; // the most that lead on from any place
};

namespace {

constexpr size_t MAX_STACKS = 20000; // that one character may make; llama.cpp compares each with each

void create(const json & request, llamacli_grammar & grammar) {
    const auto text = request.at("grammar").get<std::string>();
    const auto root = request.contains("root") ? request.at("root").get<std::string>() : "root";
    llamacli::check_grammar_text(text);
    llama_grammar_parser parser;
    llamacli::parse_grammar(parser, text);
    const auto start = parser.symbol_ids.find(root);
    if (start == parser.symbol_ids.end()) {
        throw failure("grammar", "the grammar has no rule " + root);
    }
    grammar.ways = llamacli::count_ways(parser, MAX_STACKS);
    auto rules   = parser.c_rules();
    grammar.matcher.reset(llama_grammar_init_impl(nullptr, rules.data(), rules.size(), start->second));
    if (!grammar.matcher) {
        throw failure("grammar", "llama.cpp does not accept the grammar");
    }
    grammar.start = grammar.matcher->stacks;
}

// What follows the character that a stack stands at, or nullptr at the end of the text.
const llama_grammar_element * next_element(const llama_grammar_stack & stack) {
    const auto * at = stack.back() + 1;
    while (at->type == LLAMA_GRETYPE_CHAR_ALT || at->type == LLAMA_GRETYPE_CHAR_RNG_UPPER) {
        ++at;
    }
    for (size_t i = stack.size() - 1; at->type == LLAMA_GRETYPE_END || at->type == LLAMA_GRETYPE_ALT; --i) {
        if (i == 0) {
            return nullptr;
        }
        at = stack[i - 1];
    }
    return at;
}

// Whether the next character makes no more than MAX_STACKS.
bool can_go_on(const llamacli_grammar & grammar) {
    size_t stacks = 0;
    for (const auto & stack : grammar.matcher->stacks) {
        const auto * next = stack.empty() ? nullptr : next_element(stack);
        stacks += next && next->type == LLAMA_GRETYPE_RULE_REF ? grammar.ways : 1;
    }
    return stacks <= std::max(MAX_STACKS, grammar.ways);
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
    const auto lead = static_cast<unsigned char>(byte);
    if (matcher.partial_utf8.n_remain == 0 && (lead == 0xC0 || lead == 0xC1 || lead > 0xF4)) { // llama.cpp takes these for UTF-8
        matcher.stacks.clear();
        return false;
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
            if (!can_go_on(*grammar)) {
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
