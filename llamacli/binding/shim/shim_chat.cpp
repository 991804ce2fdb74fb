// Chat templates, over llama-common: see shim.h.
//
// This file includes chat.cpp itself. common_chat_templates_apply returns the prompt as flat text: which parts are input is known
// only while the template runs, and the template object is reachable only through a structure defined there. Rendering without
// llama-common would mean repeating its work-arounds for dozens of templates.
#include "chat.cpp"

#include "shim.h"
#include "shim_copy.h"
#include "shim_json.h"
#include "shim_parts.h"

using llamacli::failure;
using llamacli::flag_of;
using llamacli::has;
using llamacli::text_of;

struct llamacli_chat {
    common_chat_templates_ptr templates;
    std::string               builtin; // the name of a template written in C++, or empty
    json                      request; // that of its creation, if a copy of the process repeats it for each prompt, or null
};

namespace {

std::vector<std::string> builtin_names() {
    std::vector<const char *> names(llama_chat_builtin_templates(nullptr, 0));
    llama_chat_builtin_templates(names.data(), names.size());
    return { names.begin(), names.end() };
}

llamacli::limits limits_of(const json & request) {
    const json & given = request.at("limits");
    return { given.at("seconds").get<double>(), given.at("bytes").get<size_t>() };
}

json create(const json & request, llamacli_chat & chat) {
    const std::string source   = text_of(request, "source");
    const std::string tool_use = text_of(request, "tool_use");
    const auto        names    = builtin_names();
    if (source.empty()) {
        throw failure("template", "the chat template is empty");
    }
    // "chatml" is the one built-in name for which llama-common has Jinja text.
    if (source != "chatml" && std::find(names.begin(), names.end(), source) != names.end()) {
        chat.builtin = source;
        return {
            { "builtin", true },
            { "capabilities", { { "supports_system_role", true }, { "supports_string_content", true } } },
        };
    }
    const std::string bos = text_of(request, "bos");
    const std::string eos = text_of(request, "eos");
    if (source != "chatml") {
        llamacli::check_syntax(source);
    }
    chat.templates = common_chat_templates_init(nullptr, source, bos, eos);
    llamacli::keep_marks(chat.templates->template_default->prog);
    if (!tool_use.empty()) {
        llamacli::check_syntax(tool_use);
        chat.templates->template_tool_use = std::make_unique<common_chat_template>(tool_use, bos, eos);
        llamacli::keep_marks(chat.templates->template_tool_use->prog);
    }
    json capabilities = json::object();
    for (const auto & [name, value] : common_chat_templates_get_caps(chat.templates.get())) {
        capabilities[name] = value;
    }
    return { { "builtin", false }, { "capabilities", capabilities } };
}

common_chat_templates_inputs inputs_of(const json & request) {
    common_chat_templates_inputs inputs;
    inputs.messages              = common_chat_msgs_parse_oaicompat(request.at("messages"));
    inputs.tools                 = has(request, "tools") ? common_chat_tools_parse_oaicompat(request.at("tools")) : inputs.tools;
    inputs.parallel_tool_calls   = flag_of(request, "parallel_tool_calls", false);
    inputs.add_generation_prompt = flag_of(request, "add_generation_prompt", true);
    inputs.enable_thinking       = flag_of(request, "enable_thinking", true);
    inputs.reasoning_format      = COMMON_REASONING_FORMAT_DEEPSEEK;
    if (has(request, "tool_choice")) {
        inputs.tool_choice = common_chat_tool_choice_parse_oaicompat(text_of(request, "tool_choice"));
    }
    if (has(request, "reasoning_format")) {
        inputs.reasoning_format = common_reasoning_format_from_name(text_of(request, "reasoning_format"));
    }
    if (has(request, "continue_final_message")) {
        inputs.continue_final_message = common_chat_continuation_parse(request.at("continue_final_message"));
    }
    if (has(request, "chat_template_kwargs")) {
        for (const auto & [name, value] : request.at("chat_template_kwargs").items()) {
            inputs.chat_template_kwargs[name] = value.dump();
        }
    }
    return inputs;
}

json strings(const std::vector<std::string> & values) {
    json result = json::array();
    for (const auto & value : values) {
        result.push_back(value);
    }
    return result;
}

json describe(const common_chat_params & params, const llamacli::parts & parts) {
    json texts    = json::array();
    json triggers = json::array();
    for (const auto & part : parts) {
        texts.push_back(json::array({ part.text, part.is_input }));
    }
    static constexpr const char * kinds[] = { "token", "word", "pattern", "pattern_full" };
    static_assert(COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN == 0 && COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL == 3, "names of the kinds");
    for (const auto & trigger : params.grammar_triggers) {
        triggers.push_back({ { "kind", kinds[trigger.type] }, { "value", trigger.value } });
    }
    return {
        { "parts", texts },
        { "format", common_chat_format_name(params.format) },
        { "parser", params.parser },
        { "generation_prompt", params.generation_prompt },
        { "grammar", params.grammar },
        { "grammar_lazy", params.grammar_lazy },
        { "triggers", triggers },
        { "preserved_tokens", strings(params.preserved_tokens) },
        { "stops", strings(params.additional_stops) },
        { "supports_thinking", params.supports_thinking },
        { "thinking_start", params.thinking_start_tag },
        { "thinking_ends", strings(params.thinking_end_tags) },
    };
}

std::string legacy_prompt(const std::string & name, const std::vector<common_chat_msg> & messages, bool add_generation_prompt) {
    std::vector<llama_chat_message> chat;
    for (const auto & message : messages) {
        chat.push_back({ message.role.c_str(), message.content.c_str() });
    }
    std::vector<char> buffer(1024);
    for (;;) {
        const int32_t n = llama_chat_apply_template(
            name.c_str(), chat.data(), chat.size(), add_generation_prompt, buffer.data(), (int32_t) buffer.size());
        if (n < 0) {
            throw failure("template", "the template " + name + " does not support these messages");
        }
        if ((size_t) n <= buffer.size()) {
            return { buffer.data(), (size_t) n };
        }
        buffer.resize(n);
    }
}

// Built-in templates are C++ that concatenates strings. Rendering markers instead of the contents shows where these are; some
// templates trim the contents, so both forms are tried.
llamacli::parts legacy_parts(const std::string & name, const common_chat_templates_inputs & inputs) {
    const std::string prompt = legacy_prompt(name, inputs.messages, inputs.add_generation_prompt);
    auto              marked = inputs.messages;
    for (size_t i = 0; i < marked.size(); ++i) {
        marked[i].content = "\x01" + std::to_string(i) + "\x02";
    }
    const std::string outline = legacy_prompt(name, marked, inputs.add_generation_prompt);
    llamacli::parts   parts;
    size_t            from = 0; // in the outline
    size_t            done = 0; // in the prompt
    for (;;) {
        const size_t open = outline.find('\x01', from);
        const auto   text = outline.substr(from, open == std::string::npos ? open : open - from);
        if (prompt.compare(done, text.size(), text) != 0) {
            throw failure("template", "the template " + name + " changes these messages");
        }
        done += text.size();
        parts.push_back({ false, text });
        if (open == std::string::npos) {
            break;
        }
        const size_t close   = outline.find('\x02', open);
        const auto & content = inputs.messages.at(std::stoul(outline.substr(open + 1, close - open - 1))).content;
        const auto   trimmed = string_strip(content);
        const auto   next    = outline.substr(close + 1, outline.find('\x01', close) - close - 1);
        const bool   whole   = prompt.compare(done, content.size(), content) == 0 &&
                             prompt.compare(done + content.size(), next.size(), next) == 0;
        parts.push_back({ true, whole ? content : trimmed });
        done += parts.back().text.size();
        from = close + 1;
    }
    if (llamacli::join(parts) != prompt) {
        throw failure("template", "the template " + name + " changes these messages");
    }
    return parts;
}

json render_builtin(const std::string & name, common_chat_templates_inputs inputs) {
    if (!inputs.tools.empty()) {
        throw failure("template", "the built-in template " + name + " does not support tools");
    }
    common_chat_params params;
    for (auto & message : inputs.messages) {
        message.content = message.render_content("\n");
        message.content_parts.clear();
    }
    std::string prefill;
    if (inputs.continue_final_message != COMMON_CHAT_CONTINUATION_NONE && !inputs.messages.empty()) {
        prefill = inputs.messages.back().content;
        inputs.messages.pop_back();
        inputs.add_generation_prompt = true;
    }
    auto parts = legacy_parts(name, inputs);
    if (!prefill.empty()) {
        parts.push_back({ true, prefill });
    }
    return describe(params, parts);
}

json render(const llamacli_chat & chat, const json & request) {
    const auto inputs = inputs_of(request);
    if (!chat.builtin.empty()) {
        return render_builtin(chat.builtin, inputs);
    }
    llamacli::recording      output;
    const auto               params = common_chat_templates_apply(chat.templates.get(), inputs);
    std::vector<std::string> appended;
    if (inputs.continue_final_message != COMMON_CHAT_CONTINUATION_NONE && !inputs.messages.empty()) {
        appended = { inputs.messages.back().reasoning_content, inputs.messages.back().render_content() };
    }
    return describe(params, output.parts_of(params.prompt, appended));
}

// The same in a copy of the process, which creates the template, too.
std::string render_in_copy(const llamacli_chat & chat, const json & request) {
    return llamacli::in_copy(limits_of(request), [&] {
        return llamacli::text_or_failure("template", [&] {
            llamacli_chat made;
            create(chat.request, made);
            return render(made, request).dump_safe();
        });
    });
}

json create_in_copy(const json & request, llamacli_chat & chat) {
    chat.request = request;
    return json::parse(llamacli::in_copy(limits_of(request), [&] {
        return llamacli::text_or_failure("template", [&] { return create(request, chat).dump_safe(); });
    }));
}

} // namespace

extern "C" {

char * llamacli_chat_create(const char * text, llamacli_chat ** chat) {
    return llamacli::answer("template", [&] {
        auto       made    = std::make_unique<llamacli_chat>();
        const auto request = llamacli::parse_request(text);
        json       result  = has(request, "limits") ? create_in_copy(request, *made) : create(request, *made);
        if (!has(result, "error")) {
            *chat = made.release();
        }
        return result;
    });
}

void llamacli_chat_free(llamacli_chat * chat) {
    llamacli::release(chat);
}

char * llamacli_chat_builtins(void) {
    return llamacli::answer("internal", [] { return json{ { "builtins", strings(builtin_names()) } }; });
}

char * llamacli_chat_render(llamacli_chat * chat, const char * text) {
    return llamacli::answer_text([&] {
        return llamacli::text_or_failure("template", [&] {
            const auto request = llamacli::parse_request(text);
            return chat->request.is_null() ? render(*chat, request).dump_safe() : render_in_copy(*chat, request);
        });
    });
}

} // extern "C"
