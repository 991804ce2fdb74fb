// The shim over llama-common, which is C++ only. Requests and answers are JSON in UTF-8.
//
// A function that returns char * returns one JSON object, to be freed with llamacli_free; NULL means out of memory. A failure is
// {"error": {"kind": ..., "message": ...}}, where kind is one of usage, template, schema, grammar, output, model, memory, internal.
// No C++ exception leaves the shim, and nothing in it prints.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shim_step.h" // LLAMACLI_API

#ifdef __cplusplus
extern "C" {
#endif

LLAMACLI_API void llamacli_free(char * text);

// --- chat templates -----------------------------------------------------------------------------------------------------

// A chat template with its beginning- and end-of-sequence texts. It needs no model. Two threads must not use it at once.
struct llamacli_chat;

// {"source": Jinja text or the name of a built-in template, "tool_use": Jinja text used instead when there are tools,
//  "bos", "eos": texts, "limits": {"seconds": of processor time, "bytes": more memory}}
// With limits a copy of the process creates it and renders each prompt, so that a template cannot end, block or fill the process;
// without them it can, and the caller has limits of its own.
// -> {"builtin": bool, "capabilities": {name: bool}}; *chat is set unless there is an error
LLAMACLI_API char * llamacli_chat_create(const char * request, struct llamacli_chat ** chat);
LLAMACLI_API void   llamacli_chat_free(struct llamacli_chat * chat);

// {"builtins": [name]}
LLAMACLI_API char * llamacli_chat_builtins(void);

// {"messages", "tools", "tool_choice", "parallel_tool_calls", "add_generation_prompt", "continue_final_message",
//  "enable_thinking", "reasoning_format", "chat_template_kwargs"}, all but messages optional; "limits" as above if the template was created with some
// -> {"parts": [[text, is_input]], "format", "parser", "generation_prompt", "grammar", "grammar_lazy", "triggers",
//     "preserved_tokens", "stops", "supports_thinking", "thinking_start", "thinking_ends"}
LLAMACLI_API char * llamacli_chat_render(struct llamacli_chat * chat, const char * request);

// --- answers ------------------------------------------------------------------------------------------------------------

// The parser of the answer to one rendered prompt, complete or growing.
struct llamacli_parser;

// {"format", "parser", "generation_prompt" of the rendering, "reasoning_format", "parse_tool_calls"} -> {}
LLAMACLI_API char * llamacli_parser_create(const char * request, struct llamacli_parser ** parser);
LLAMACLI_API void   llamacli_parser_free(struct llamacli_parser * parser);

// {"text": the whole answer so far, "partial": bool}
// -> {"content", "reasoning_content", "tool_calls": [{"id", "name", "arguments"}],
//     "deltas": [{"content", "reasoning_content", "tool_call": {"index", "id", "name", "arguments"}}]}
// where deltas are the changes since the last call.
LLAMACLI_API char * llamacli_parser_parse(struct llamacli_parser * parser, const char * request);

// --- memory and system --------------------------------------------------------------------------------------------------

// The memory that a model with a context needs, without allocating it
// -> {"devices": [{"name", "description", "host", "total", "free", "model", "context", "compute"}], "n_layer", "n_ctx_train",
//     "n_expert"}, sizes in bytes; the last device is the host
LLAMACLI_API char * llamacli_memory(
    const char * path, const struct llama_model_params * model, const struct llama_context_params * context);

// The arrays that fitted parameters point to, to be freed after the model is loaded.
struct llamacli_fitted;

// Changes parameters with default values so that `margin` bytes stay free on each device: the layers on devices, and a context
// size of 0, to at least n_ctx_min
// -> {"fits": bool, "n_gpu_layers", "n_ctx", "tensor_split": [number], "overrides": [[pattern of tensor names, buffer type]]}
LLAMACLI_API char * llamacli_fit(
    const char * path, struct llama_model_params * model, struct llama_context_params * context, size_t margin, uint32_t n_ctx_min,
    struct llamacli_fitted ** fitted);
LLAMACLI_API void llamacli_fitted_free(struct llamacli_fitted * fitted);

// {"commit", "compiler", "target", "llama_version", "system_info",
//  "backends": [{"name", "features": {name: value}, "devices": [{"name", "description", "type", "total", "free", "id"}]}]}
LLAMACLI_API char * llamacli_system(void);

#ifdef __cplusplus
}
#endif
