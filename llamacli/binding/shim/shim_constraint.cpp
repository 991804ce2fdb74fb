// Grammars in the inner loop: see shim_constraint.h. llama.cpp does the matching; this file minimizes the calls to it.
//
// llama.cpp's own grammar sampler decodes every piece of the vocabulary whenever a token is rejected, and aborts the process when
// it accepts a token that the grammar does not allow. Here the vocabulary is indexed by first characters once, so that only tokens
// with a matching start are examined, and every token is checked before it is accepted.
#include "shim_constraint.h"

#include "llama-grammar.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <unordered_map>

namespace {

constexpr float MINUS_INFINITY = -std::numeric_limits<float>::infinity();

// Validator of UTF-8, fed in pieces. llama.cpp's grammars accept any byte as a continuation byte.
struct utf8 {
    int           left = 0; // continuation bytes still missing
    unsigned char low  = 0x80;
    unsigned char high = 0xBF;

    bool take(const char * text, size_t size) {
        return std::all_of(text, text + size, [this](char c) { return take(static_cast<unsigned char>(c)); });
    }

  private:
    bool take(unsigned char byte) {
        if (left > 0) {
            const bool right = low <= byte && byte <= high;
            *this            = { left - 1, 0x80, 0xBF };
            return right;
        }
        if (byte >= 0xC2 && byte <= 0xF4) {
            left = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
            low  = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
            high = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
            return true;
        }
        return byte < 0x80;
    }
};

// The bytes of a token; those of control tokens as templates write them.
std::string piece_of(const llama_vocab * vocab, llama_token token) {
    std::string text(32, '\0');
    int32_t     size = llama_token_to_piece(vocab, token, &text[0], (int32_t) text.size(), 0, true);
    if (size < 0) {
        text.resize(-size);
        size = llama_token_to_piece(vocab, token, &text[0], (int32_t) text.size(), 0, true);
    }
    text.resize(std::max(size, 0));
    return text;
}

// Tokens whose text starts with the same two characters, or is the same single character.
struct token_group {
    uint32_t                 begin[3] = { 0, 0, 0 }; // zero-terminated
    std::vector<llama_token> tokens;
};

// The first character of a text and its length in bytes, which is 0 if the character is incomplete.
std::pair<uint32_t, size_t> first_character(const char * text, size_t size) {
    const auto   first  = static_cast<unsigned char>(size > 0 ? text[0] : 0);
    const size_t length = first < 0x80 ? 1 : first < 0xC0 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF8 ? 4 : 0;
    if (length == 0 || length > size) {
        return { 0, 0 };
    }
    uint32_t code = length == 1 ? first : first & (0x7F >> length);
    for (size_t i = 1; i < length; ++i) {
        code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3F);
    }
    return { code, length };
}

// The tokens of a vocabulary by their first two characters: half of them start with a space, so one would select little.
struct token_index {
    std::vector<token_group> groups;
    std::vector<llama_token> odd; // tokens that start within a character
    std::vector<llama_token> ends;

    explicit token_index(const llama_vocab * vocab) {
        std::unordered_map<uint64_t, size_t> places;
        for (llama_token token = 0; token < llama_vocab_n_tokens(vocab); ++token) {
            const std::string text = piece_of(vocab, token);
            if (llama_vocab_is_eog(vocab, token)) {
                ends.push_back(token);
            } else if (!text.empty() && text[0] != 0) {
                add(token, text.data(), text.size(), places);
            }
        }
    }

  private:
    void add(llama_token token, const char * text, size_t size, std::unordered_map<uint64_t, size_t> & places) {
        const auto [first, length] = first_character(text, size);
        if (length == 0) {
            odd.push_back(token);
            return;
        }
        const auto second = first_character(text + length, size - length).first;
        const auto place  = places.emplace(uint64_t(first) << 32 | second, groups.size());
        if (place.second) {
            groups.push_back({ { first, second, 0 }, {} });
        }
        groups[place.first->second].tokens.push_back(token);
    }
};

struct grammar_deleter {
    void operator()(llama_grammar * grammar) const { llama_grammar_free_impl(grammar); }
};

// Whether a character matches the element `at` of a grammar, which is of a character type.
bool matches(const llama_grammar_element * at, uint32_t code) {
    const bool positive = at->type != LLAMA_GRETYPE_CHAR_NOT;
    bool       found    = false;
    do {
        if (at->type == LLAMA_GRETYPE_CHAR_ANY) {
            found = true;
            ++at;
        } else if (at[1].type == LLAMA_GRETYPE_CHAR_RNG_UPPER) {
            found = found || (at->value <= code && code <= at[1].value);
            at += 2;
        } else {
            found = found || at->value == code;
            ++at;
        }
    } while (at->type == LLAMA_GRETYPE_CHAR_ALT);
    return found == positive;
}

bool is_token(const llama_grammar_element & element) {
    return element.type == LLAMA_GRETYPE_TOKEN || element.type == LLAMA_GRETYPE_TOKEN_NOT;
}

} // namespace

struct llamacli_constraint {
    std::unique_ptr<llama_grammar, grammar_deleter> grammar;
    const llama_vocab *                             vocab;
    utf8                                            text;  // state of its last character
    std::shared_ptr<token_index>                    index; // created at its first use, shared by copies
};

namespace llamacli {

namespace {

void mask(const llamacli_constraint & constraint, std::vector<llama_token_data> & candidates) {
    llama_token_data_array array = { candidates.data(), candidates.size(), -1, false };
    llama_grammar_apply_impl(*constraint.grammar, &array);
}

// Whether the text stays valid UTF-8 with the token.
bool is_sound(const llamacli_constraint & constraint, llama_token token) {
    if (llama_vocab_is_eog(constraint.vocab, token)) {
        return constraint.text.left == 0;
    }
    const std::string piece = piece_of(constraint.vocab, token);
    utf8              text  = constraint.text;
    return text.take(piece.data(), piece.size());
}

bool may_end(const llamacli_constraint & constraint) {
    const auto & stacks = constraint.grammar->stacks;
    return std::any_of(stacks.begin(), stacks.end(), [](const auto & stack) { return stack.empty(); });
}

bool may_go_on(const llamacli_constraint & constraint) {
    const auto & stacks = constraint.grammar->stacks;
    return std::any_of(stacks.begin(), stacks.end(), [](const auto & stack) { return !stack.empty(); });
}

// The only character that all stacks take next; 0 if there are several or the text may end.
uint32_t only_character(const llama_grammar_stacks & stacks) {
    uint32_t only = 0;
    for (const auto & stack : stacks) {
        if (stack.empty() || stack.back()->type != LLAMA_GRETYPE_CHAR) {
            return 0;
        }
        const llama_grammar_element * at    = stack.back();
        const bool                    is_one = at[1].type != LLAMA_GRETYPE_CHAR_RNG_UPPER && at[1].type != LLAMA_GRETYPE_CHAR_ALT;
        if (!is_one || (only && only != at->value)) {
            return 0;
        }
        only = at->value;
    }
    return only;
}

void append(std::string & text, uint32_t code) {
    if (code < 0x80) {
        text += static_cast<char>(code);
        return;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    text += static_cast<char>((0xFF00 >> (more + 1) & 0xFF) | code >> 6 * more);
    for (int i = more; i-- > 0;) {
        text += static_cast<char>(0x80 | (code >> 6 * i & 0x3F));
    }
}

// Whether first characters select the candidates: not within a character, and not where the grammar names tokens.
bool is_indexable(const llama_grammar & grammar) {
    return grammar.partial_utf8.n_remain == 0 && std::none_of(grammar.stacks.begin(), grammar.stacks.end(), [](const auto & stack) {
               return !stack.empty() && is_token(*stack.back());
           });
}

bool fits(const llama_grammar_stacks & stacks, uint32_t code) {
    return std::any_of(stacks.begin(), stacks.end(),
                       [&](const auto & stack) { return !stack.empty() && matches(stack.back(), code); });
}

// The groups of tokens whose first characters match.
std::vector<const token_group *> fitting_groups(const llama_grammar & grammar, const std::vector<token_group> & groups) {
    std::vector<const token_group *> fitting;
    llama_grammar_candidates         candidates;
    for (const token_group & group : groups) {
        if (fits(grammar.stacks, group.begin[0])) {
            candidates.push_back({ fitting.size(), group.begin, { 0, 0 }, 0 });
            fitting.push_back(&group);
        }
    }
    for (const auto & stack : grammar.stacks) {
        candidates = llama_grammar_reject_candidates_for_stack(grammar.rules, stack, candidates);
    }
    for (const auto & rejected : candidates) {
        fitting[rejected.index] = nullptr;
    }
    fitting.erase(std::remove(fitting.begin(), fitting.end(), nullptr), fitting.end());
    return fitting;
}

} // namespace

bool allows(const llamacli_constraint & constraint, llama_token token) {
    std::vector<llama_token_data> one{ { token, 1.0f, 0.0f } };
    mask(constraint, one);
    return one[0].logit != MINUS_INFINITY && is_sound(constraint, token);
}

void remove_forbidden(const llamacli_constraint & constraint, std::vector<llama_token_data> & candidates) {
    mask(constraint, candidates);
    const auto forbidden = [&](const llama_token_data & candidate) {
        return !(candidate.logit > MINUS_INFINITY) || !is_sound(constraint, candidate.id);
    };
    candidates.erase(std::remove_if(candidates.begin(), candidates.end(), forbidden), candidates.end());
}

void allowed_candidates(llamacli_constraint & constraint, const float * logits, int n, std::vector<llama_token_data> & out) {
    out.clear();
    const auto add = [&](const std::vector<llama_token> & tokens) {
        for (const llama_token token : tokens) {
            out.push_back({ token, logits[token], 0.0f });
        }
    };
    if (!is_indexable(*constraint.grammar)) {
        for (llama_token token = 0; token < n; ++token) {
            out.push_back({ token, logits[token], 0.0f });
        }
    } else {
        if (!constraint.index) {
            constraint.index = std::make_shared<token_index>(constraint.vocab);
        }
        for (const token_group * group : fitting_groups(*constraint.grammar, constraint.index->groups)) {
            add(group->tokens);
        }
        add(constraint.index->odd);
        if (may_end(constraint)) {
            add(constraint.index->ends);
        }
        // In the order of the vocabulary, as without an index, so that the same seed gives the same text.
        std::sort(out.begin(), out.end(), [](const llama_token_data & a, const llama_token_data & b) { return a.id < b.id; });
    }
    remove_forbidden(constraint, out);
}

std::string certain_text(llamacli_constraint & constraint, size_t most) {
    llama_grammar & grammar = *constraint.grammar;
    std::string     text;
    uint32_t        next = constraint.text.left || grammar.partial_utf8.n_remain ? 0 : only_character(grammar.stacks);
    if (!next) {
        return text;
    }
    const llama_grammar_stacks stacks = grammar.stacks; // pointers into the rules, which do not change
    while (next && text.size() < most) {
        append(text, next);
        llama_grammar_accept(&grammar, next);
        next = only_character(grammar.stacks);
    }
    grammar.stacks = stacks;
    return text;
}

void accept(llamacli_constraint & constraint, llama_token token) {
    llama_grammar_accept_impl(*constraint.grammar, token);
    const std::string piece = piece_of(constraint.vocab, token);
    constraint.text.take(piece.data(), piece.size());
}

} // namespace llamacli

extern "C" {

llamacli_constraint * llamacli_constraint_create(const llama_vocab * vocab, const char * grammar, const char * root) {
    try {
        auto made = std::make_unique<llamacli_constraint>();
        made->vocab = vocab;
        made->grammar.reset(llama_grammar_init_impl(vocab, grammar, root, false, nullptr, 0, nullptr, 0));
        return made->grammar ? made.release() : nullptr;
    } catch (const std::exception &) {
        return nullptr;
    }
}

void llamacli_constraint_free(llamacli_constraint * constraint) {
    delete constraint;
}

int32_t llamacli_constraint_accept(llamacli_constraint * constraint, const llama_token * tokens, int32_t n_tokens) {
    for (int32_t i = 0; i < n_tokens; ++i) {
        try {
            if (!llamacli::allows(*constraint, tokens[i])) {
                return i;
            }
            llamacli::accept(*constraint, tokens[i]);
        } catch (const std::exception &) { // out of memory
            return i;
        }
    }
    return n_tokens;
}

bool llamacli_constraint_accept_text(llamacli_constraint * constraint, const char * text, size_t n_bytes) {
    try {
        llama_grammar_accept_str(*constraint->grammar, std::string(text, n_bytes));
        return constraint->text.take(text, n_bytes);
    } catch (const std::exception &) { // how llama.cpp rejects a text
        return false;
    }
}

int32_t llamacli_constraint_certain(llamacli_constraint * constraint, char * text, int32_t capacity) {
    try {
        const std::string found = llamacli::certain_text(*constraint, capacity);
        const size_t      size  = std::min(found.size(), static_cast<size_t>(capacity));
        std::copy_n(found.data(), size, text);
        return static_cast<int32_t>(size);
    } catch (const std::exception &) { // out of memory
        return 0;
    }
}

int32_t llamacli_constraint_state(const llamacli_constraint * constraint) {
    return (llamacli::may_go_on(*constraint) ? 1 : 0) + (llamacli::may_end(*constraint) ? 2 : 0);
}

} // extern "C"
