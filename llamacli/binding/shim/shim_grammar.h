// What is checked about grammars and JSON schemas before llama.cpp sees them.
#pragma once

#include "shim_json.h"

#include <string>

struct llama_grammar_parser;

namespace llamacli {

// Throws a failure for a text that would make llama.cpp's GBNF parser crash, loop or eat all memory.
void check_grammar_text(const std::string & grammar);

// Parses a grammar. Unlike llama.cpp's own function it throws what is wrong.
void parse_grammar(llama_grammar_parser & parser, const std::string & grammar);

// The most ways that lead on to a first character from any place of a grammar. Throws for left recursion, and for more ways
// than at_most, as llama.cpp would take each of them.
size_t count_ways(const llama_grammar_parser & parser, size_t at_most);

// Throws a failure for a schema that would make llama.cpp recurse for ever or take exponential time.
void check_schema(const json & schema);

// The grammar of a schema, both checked. `warning` tells what the grammar does not hold, in llama.cpp's words.
std::string grammar_of_schema(const json & schema, std::string & warning);

} // namespace llamacli
