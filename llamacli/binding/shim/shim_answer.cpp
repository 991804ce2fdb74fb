// Parsing of answers, over llama-common: see shim.h.
#include "shim.h"

#include "chat.h"
#include "shim_json.h"

#include <memory>

using llamacli::failure;
using llamacli::flag_of;
using llamacli::has;
using llamacli::json;
using llamacli::text_of;

struct llamacli_parser {
    common_chat_parser_params params;
    common_chat_msg           last;
};

namespace {

constexpr size_t MAX_ANSWER   = size_t(1) << 20; // bytes
constexpr size_t MAX_BRACKETS = 10000;           // open at once

common_chat_format format_named(const std::string & name) {
    for (int i = 0; i < COMMON_CHAT_FORMAT_COUNT; ++i) {
        if (name == common_chat_format_name((common_chat_format) i)) {
            return (common_chat_format) i;
        }
    }
    throw failure("usage", "unknown format " + name);
}

void create_parser(const json & request, llamacli_parser & parser) {
    auto & params            = parser.params;
    params.format            = format_named(text_of(request, "format"));
    params.generation_prompt = text_of(request, "generation_prompt");
    params.parse_tool_calls  = flag_of(request, "parse_tool_calls", true);
    params.reasoning_format  = COMMON_REASONING_FORMAT_DEEPSEEK;
    if (has(request, "reasoning_format")) {
        params.reasoning_format = common_reasoning_format_from_name(text_of(request, "reasoning_format"));
    }
    if (has(request, "parser") && !text_of(request, "parser").empty()) {
        params.parser.load(text_of(request, "parser"));
    }
    parser.last.role = "assistant";
}

json describe(const common_chat_tool_call & call) {
    return { { "id", call.id }, { "name", call.name }, { "arguments", call.arguments } };
}

// The parser recurses for each open bracket in the arguments of a tool call.
void check_answer(const std::string & text) {
    size_t depth = 0;
    for (const char c : text) {
        depth += c == '[' || c == '{';
        depth -= (c == ']' || c == '}') && depth > 0;
        if (depth > MAX_BRACKETS) {
            throw failure("output", "the answer is nested too deeply");
        }
    }
    if (text.size() > MAX_ANSWER) {
        throw failure("output", "the answer is longer than 1 MiB");
    }
}

json parse(llamacli_parser & parser, const json & request) {
    const auto text = text_of(request, "text");
    check_answer(text);
    auto message = common_chat_parse(text, flag_of(request, "partial", false), parser.params);
    json calls   = json::array();
    json deltas  = json::array();
    for (const auto & call : message.tool_calls) {
        calls.push_back(describe(call));
    }
    for (const auto & diff : common_chat_msg_diff::compute_diffs(parser.last, message)) {
        json delta = { { "content", diff.content_delta }, { "reasoning_content", diff.reasoning_content_delta } };
        if (diff.tool_call_index != std::string::npos) {
            delta["tool_call"]          = describe(diff.tool_call_delta);
            delta["tool_call"]["index"] = diff.tool_call_index;
        }
        deltas.push_back(delta);
    }
    json result = {
        { "content", message.render_content() },
        { "reasoning_content", message.reasoning_content },
        { "tool_calls", calls },
        { "deltas", deltas },
    };
    parser.last = std::move(message);
    return result;
}

} // namespace

extern "C" {

char * llamacli_parser_create(const char * request, llamacli_parser ** parser) {
    return llamacli::answer("usage", [&] {
        auto made = std::make_unique<llamacli_parser>();
        create_parser(llamacli::parse_request(request), *made);
        *parser = made.release();
        return json::object();
    });
}

void llamacli_parser_free(llamacli_parser * parser) {
    llamacli::release(parser);
}

char * llamacli_parser_parse(llamacli_parser * parser, const char * request) {
    return llamacli::answer("output", [&] { return parse(*parser, llamacli::parse_request(request)); });
}

} // extern "C"
