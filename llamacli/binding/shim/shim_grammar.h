// Checks of the schemas and grammars of tools, before llama.cpp converts or parses them.
#pragma once

#include "shim_json.h"

#include <string>

namespace llamacli {

// Throws a failure for a grammar that would make llama.cpp's parser crash, loop or exhaust memory.
void check_grammar_text(const std::string & grammar);

// Throws a failure for a schema that would make llama.cpp's converter recurse without end or take exponential time.
void check_schema(const json & schema);

} // namespace llamacli
