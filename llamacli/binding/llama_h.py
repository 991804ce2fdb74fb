"""The rest of `llama.h`, which only `llamacli.llama_cpp` offers: checked like `declarations.py`, and parsed when it is needed.

Deprecated functions are here as long as the library has them.
"""

from enum import IntEnum

HEADERS = ("ggml-opt.h",)

OPAQUE = """
llama_batch_ext ggml_backend_buffer_type ggml_threadpool ggml_context ggml_cgraph gguf_context
ggml_opt_dataset ggml_opt_context ggml_opt_result ggml_opt_optimizer_params FILE
"""
"""Structures that are handled by pointer only."""

TYPEDEFS = """
typedef void * llama_sampler_context_t;
typedef struct ggml_backend_buffer_type * ggml_backend_buffer_type_t;
typedef struct ggml_threadpool * ggml_threadpool_t;
typedef struct ggml_opt_dataset * ggml_opt_dataset_t;
typedef struct ggml_opt_context * ggml_opt_context_t;
typedef struct ggml_opt_result * ggml_opt_result_t;
typedef void (*llama_model_set_tensor_data_t)(struct ggml_tensor * tensor, void * userdata);
typedef bool (*llama_opt_param_filter)(const struct ggml_tensor * tensor, void * userdata);
typedef struct ggml_opt_optimizer_params (*ggml_opt_get_optimizer_params)(void * userdata);
typedef void (*ggml_opt_epoch_callback)(bool train, ggml_opt_context_t opt_ctx, ggml_opt_dataset_t dataset, ggml_opt_result_t result, int64_t ibatch, int64_t ibatch_max, int64_t t_start_us);
typedef const char * (*llama_sampler_i_name)(const struct llama_sampler * smpl);
typedef void (*llama_sampler_i_accept)(struct llama_sampler * smpl, llama_token token);
typedef void (*llama_sampler_i_apply)(struct llama_sampler * smpl, struct llama_token_data_array * cur_p);
typedef void (*llama_sampler_i_reset)(struct llama_sampler * smpl);
typedef struct llama_sampler * (*llama_sampler_i_clone)(const struct llama_sampler * smpl);
typedef void (*llama_sampler_i_free)(struct llama_sampler * smpl);
typedef bool (*llama_sampler_i_backend_init)(struct llama_sampler * smpl, ggml_backend_buffer_type_t buft, uint32_t n_outputs_max_per_seq);
typedef void (*llama_sampler_i_backend_accept)(struct llama_sampler * smpl, struct ggml_context * ctx, struct ggml_cgraph * gf, struct ggml_tensor * selected_token);
typedef void (*llama_sampler_i_backend_apply)(struct llama_sampler * smpl, struct ggml_context * ctx, struct ggml_cgraph * gf, struct llama_sampler_data * data);
typedef void (*llama_sampler_i_backend_set_input)(struct llama_sampler * smpl);
typedef void (*llama_sampler_i_backend_reset)(struct llama_sampler * smpl);
typedef void (*llama_sampler_i_copy_state)(const struct llama_sampler * src, struct llama_sampler * dst);
"""
"""Those of the members of `llama_sampler_i` have no name in C."""

STRUCTS = """
struct llama_token_data_array { struct llama_token_data * data; size_t size; int64_t selected; bool sorted; };

struct llama_chat_message { const char * role; const char * content; };

struct llama_model_tensor_buft_override { const char * pattern; ggml_backend_buffer_type_t buft; };

struct llama_embd { const float * data; size_t n_rows; size_t n_embd; };

struct llama_sampler_data { struct ggml_tensor * logits; struct ggml_tensor * probs; struct ggml_tensor * sampled; struct ggml_tensor * candidates; };

struct llama_sampler_i {
    llama_sampler_i_name name;
    llama_sampler_i_accept accept;
    llama_sampler_i_apply apply;
    llama_sampler_i_reset reset;
    llama_sampler_i_clone clone;
    llama_sampler_i_free free;
    llama_sampler_i_backend_init backend_init;
    llama_sampler_i_backend_accept backend_accept;
    llama_sampler_i_backend_apply backend_apply;
    llama_sampler_i_backend_set_input backend_set_input;
    llama_sampler_i_backend_reset backend_reset;
    llama_sampler_i_copy_state copy_state;
};

struct llama_sampler { struct llama_sampler_i * iface; llama_sampler_context_t ctx; };

struct llama_perf_context_data { double t_start_ms; double t_load_ms; double t_p_eval_ms; double t_eval_ms; int32_t n_p_eval; int32_t n_eval; int32_t n_reused; };

struct llama_perf_sampler_data { double t_sample_ms; int32_t n_sample; };

struct llama_opt_params {
    uint32_t n_ctx_train;
    llama_opt_param_filter param_filter;
    void * param_filter_ud;
    ggml_opt_get_optimizer_params get_opt_pars;
    void * get_opt_pars_ud;
    enum ggml_opt_optimizer_type optimizer_type;
};
"""

FUNCTIONS = """
const char * llama_ftype_name(enum llama_ftype ftype);
const char * llama_flash_attn_type_name(enum llama_flash_attn_type flash_attn_type);
const char * llama_load_mode_name(enum llama_load_mode load_mode);
enum llama_load_mode llama_load_mode_from_str(const char * str);
void llama_backend_free(void);
void llama_attach_threadpool(struct llama_context * ctx, ggml_threadpool_t threadpool, ggml_threadpool_t threadpool_batch);
void llama_detach_threadpool(struct llama_context * ctx);
struct llama_model * llama_model_init_from_user(struct gguf_context * metadata, llama_model_set_tensor_data_t set_tensor_data, void * set_tensor_data_ud, struct llama_model_params params);
struct llama_model * llama_model_load_from_file_ptr(FILE * file, struct llama_model_params params);
struct llama_model * llama_model_load_from_splits(const char ** paths, size_t n_paths, struct llama_model_params params);
void llama_model_save_to_file(const struct llama_model * model, const char * path_model);
size_t llama_max_parallel_sequences(void);
size_t llama_max_tensor_buft_overrides(void);
bool llama_supports_mmap(void);
bool llama_supports_mlock(void);
bool llama_supports_rpc(void);
uint32_t llama_n_ctx(const struct llama_context * ctx);
uint32_t llama_n_ubatch(const struct llama_context * ctx);
uint32_t llama_n_seq_max(const struct llama_context * ctx);
const struct llama_model * llama_get_model(const struct llama_context * ctx);
enum llama_rope_type llama_model_rope_type(const struct llama_model * model);
int32_t llama_model_n_layer_nextn(const struct llama_model * model);
float llama_model_rope_freq_scale_train(const struct llama_model * model);
const char * llama_model_cls_label(const struct llama_model * model, uint32_t i);
int32_t llama_model_meta_val_str_by_index(const struct llama_model * model, int32_t i, char * buf, size_t buf_size);
enum llama_ftype llama_model_ftype(const struct llama_model * model);
llama_token llama_model_decoder_start_token(const struct llama_model * model);
struct llama_adapter_lora * llama_adapter_lora_init_from_file_ptr(struct llama_model * model, FILE * file);
int32_t llama_adapter_meta_val_str(const struct llama_adapter_lora * adapter, const char * key, char * buf, size_t buf_size);
int32_t llama_adapter_meta_count(const struct llama_adapter_lora * adapter);
int32_t llama_adapter_meta_key_by_index(const struct llama_adapter_lora * adapter, int32_t i, char * buf, size_t buf_size);
int32_t llama_adapter_meta_val_str_by_index(const struct llama_adapter_lora * adapter, int32_t i, char * buf, size_t buf_size);
void llama_adapter_lora_free(struct llama_adapter_lora * adapter);
uint64_t llama_adapter_get_alora_n_invocation_tokens(const struct llama_adapter_lora * adapter);
const llama_token * llama_adapter_get_alora_invocation_tokens(const struct llama_adapter_lora * adapter);
int32_t llama_set_adapter_cvec(struct llama_context * ctx, const float * data, size_t len, int32_t n_embd, int32_t il_start, int32_t il_end);
void llama_memory_seq_keep(llama_memory_t mem, llama_seq_id seq_id);
void llama_memory_seq_div(llama_memory_t mem, llama_seq_id seq_id, llama_pos p0, llama_pos p1, int d);
size_t llama_state_get_size(struct llama_context * ctx);
size_t llama_state_get_data(struct llama_context * ctx, uint8_t * dst, size_t size);
size_t llama_state_set_data(struct llama_context * ctx, const uint8_t * src, size_t size);
bool llama_state_load_file(struct llama_context * ctx, const char * path_session, llama_token * tokens_out, size_t n_token_capacity, size_t * n_token_count_out);
bool llama_state_save_file(struct llama_context * ctx, const char * path_session, const llama_token * tokens, size_t n_token_count);
size_t llama_state_seq_get_size(struct llama_context * ctx, llama_seq_id seq_id);
size_t llama_state_seq_get_data(struct llama_context * ctx, uint8_t * dst, size_t size, llama_seq_id seq_id);
size_t llama_state_seq_set_data(struct llama_context * ctx, const uint8_t * src, size_t size, llama_seq_id dest_seq_id);
size_t llama_state_seq_save_file(struct llama_context * ctx, const char * filepath, llama_seq_id seq_id, const llama_token * tokens, size_t n_token_count);
size_t llama_state_seq_load_file(struct llama_context * ctx, const char * filepath, llama_seq_id dest_seq_id, llama_token * tokens_out, size_t n_token_capacity, size_t * n_token_count_out);
struct llama_batch llama_batch_get_one(llama_token * tokens, int32_t n_tokens);
struct llama_batch llama_batch_init(int32_t n_tokens, int32_t embd, int32_t n_seq_max);
void llama_batch_free(struct llama_batch batch);
int32_t llama_encode(struct llama_context * ctx, struct llama_batch batch);
struct llama_batch_ext * llama_batch_ext_init(struct llama_context * ctx);
void llama_batch_ext_free(struct llama_batch_ext * batch);
void llama_batch_ext_clear(struct llama_batch_ext * batch);
int32_t llama_batch_ext_add(struct llama_batch_ext * batch, llama_seq_id seq_id);
int32_t llama_batch_ext_add_token(struct llama_batch_ext * batch, llama_seq_id seq_id, llama_token id);
int32_t llama_batch_ext_add_embd(struct llama_batch_ext * batch, llama_seq_id seq_id, struct llama_embd embd);
bool llama_batch_ext_add_seq(struct llama_batch_ext * batch, int32_t idx, llama_seq_id seq_id);
bool llama_batch_ext_set_embd_token(struct llama_batch_ext * batch, int32_t idx, struct llama_embd embd);
bool llama_batch_ext_set_embd_state(struct llama_batch_ext * batch, int32_t idx, struct llama_embd embd);
bool llama_batch_ext_set_output_embd(struct llama_batch_ext * batch, int32_t idx, bool value);
bool llama_batch_ext_set_output_logits(struct llama_batch_ext * batch, int32_t idx, bool value);
bool llama_batch_ext_set_pos(struct llama_batch_ext * batch, int32_t idx, const llama_pos * pos);
int32_t llama_process(struct llama_context * ctx, enum llama_process_type type, struct llama_batch_ext * batch);
int32_t llama_n_threads(struct llama_context * ctx);
int32_t llama_n_threads_batch(struct llama_context * ctx);
void llama_set_embeddings(struct llama_context * ctx, bool embeddings);
bool llama_get_causal_attn(const struct llama_context * ctx);
void llama_set_abort_callback(struct llama_context * ctx, ggml_abort_callback abort_callback, void * abort_callback_data);
float * llama_get_logits(struct llama_context * ctx);
float * llama_get_embeddings(struct llama_context * ctx);
llama_token llama_get_sampled_token_ith(struct llama_context * ctx, int32_t i);
float * llama_get_sampled_probs_ith(struct llama_context * ctx, int32_t i);
uint32_t llama_get_sampled_probs_count_ith(struct llama_context * ctx, int32_t i);
float * llama_get_sampled_logits_ith(struct llama_context * ctx, int32_t i);
uint32_t llama_get_sampled_logits_count_ith(struct llama_context * ctx, int32_t i);
llama_token * llama_get_sampled_candidates_ith(struct llama_context * ctx, int32_t i);
uint32_t llama_get_sampled_candidates_count_ith(struct llama_context * ctx, int32_t i);
float llama_vocab_get_score(const struct llama_vocab * vocab, llama_token token);
llama_token llama_vocab_eot(const struct llama_vocab * vocab);
llama_token llama_vocab_pad(const struct llama_vocab * vocab);
llama_token llama_vocab_mask(const struct llama_vocab * vocab);
llama_token llama_vocab_fim_pad(const struct llama_vocab * vocab);
llama_token llama_vocab_fim_rep(const struct llama_vocab * vocab);
llama_token llama_vocab_fim_sep(const struct llama_vocab * vocab);
int32_t llama_chat_apply_template(const char * tmpl, const struct llama_chat_message * chat, size_t n_msg, bool add_ass, char * buf, int32_t length);
int32_t llama_chat_builtin_templates(const char ** output, size_t len);
bool llama_set_sampler(struct llama_context * ctx, llama_seq_id seq_id, struct llama_sampler * smpl);
struct llama_sampler * llama_sampler_init(struct llama_sampler_i * iface, llama_sampler_context_t ctx);
const char * llama_sampler_name(const struct llama_sampler * smpl);
void llama_sampler_apply(struct llama_sampler * smpl, struct llama_token_data_array * cur_p);
void llama_sampler_reset(struct llama_sampler * smpl);
struct llama_sampler * llama_sampler_clone(const struct llama_sampler * smpl);
void llama_sampler_copy(const struct llama_sampler * src, struct llama_sampler * dst);
struct llama_sampler * llama_sampler_chain_get(struct llama_sampler * chain, int32_t i);
int32_t llama_sampler_chain_n(const struct llama_sampler * chain);
struct llama_sampler * llama_sampler_chain_remove(struct llama_sampler * chain, int32_t i);
struct llama_sampler * llama_sampler_init_greedy(void);
struct llama_sampler * llama_sampler_init_temp(float t);
struct llama_sampler * llama_sampler_init_grammar(const struct llama_vocab * vocab, const char * grammar_str, const char * grammar_root);
struct llama_sampler * llama_sampler_init_grammar_lazy_patterns(const struct llama_vocab * vocab, const char * grammar_str, const char * grammar_root, const char ** trigger_patterns, size_t num_trigger_patterns, const llama_token * trigger_tokens, size_t num_trigger_tokens);
struct llama_sampler * llama_sampler_init_logit_bias(int32_t n_vocab, int32_t n_logit_bias, const struct llama_logit_bias * logit_bias);
uint32_t llama_sampler_get_seed(const struct llama_sampler * smpl);
llama_token llama_sampler_sample(struct llama_sampler * smpl, struct llama_context * ctx, int32_t idx);
int32_t llama_split_path(char * split_path, size_t maxlen, const char * path_prefix, int32_t split_no, int32_t split_count);
int32_t llama_split_prefix(char * split_prefix, size_t maxlen, const char * split_path, int32_t split_no, int32_t split_count);
const char * llama_print_system_info(void);
void llama_log_get(ggml_log_callback * log_callback, void ** user_data);
void llama_log_set(ggml_log_callback log_callback, void * user_data);
struct llama_perf_context_data llama_perf_context(const struct llama_context * ctx);
void llama_perf_context_print(const struct llama_context * ctx);
void llama_perf_context_reset(struct llama_context * ctx);
struct llama_perf_sampler_data llama_perf_sampler(const struct llama_sampler * chain);
void llama_perf_sampler_print(const struct llama_sampler * chain);
void llama_perf_sampler_reset(struct llama_sampler * chain);
bool llama_opt_param_filter_all(const struct ggml_tensor * tensor, void * userdata);
void llama_opt_init(struct llama_context * lctx, struct llama_model * model, struct llama_opt_params lopt_params);
void llama_opt_epoch(struct llama_context * lctx, ggml_opt_dataset_t dataset, ggml_opt_result_t result_train, ggml_opt_result_t result_eval, int64_t idata_split, ggml_opt_epoch_callback callback_train, ggml_opt_epoch_callback callback_eval);
"""

DEPRECATED = """
struct llama_model * llama_load_model_from_file(const char * path_model, struct llama_model_params params);
void llama_free_model(struct llama_model * model);
struct llama_context * llama_new_context_with_model(struct llama_model * model, struct llama_context_params params);
int32_t llama_n_ctx_train(const struct llama_model * model);
int32_t llama_n_embd(const struct llama_model * model);
int32_t llama_n_layer(const struct llama_model * model);
int32_t llama_n_head(const struct llama_model * model);
int32_t llama_n_vocab(const struct llama_vocab * vocab);
size_t llama_get_state_size(struct llama_context * ctx);
size_t llama_copy_state_data(struct llama_context * ctx, uint8_t * dst);
size_t llama_set_state_data(struct llama_context * ctx, const uint8_t * src);
bool llama_load_session_file(struct llama_context * ctx, const char * path_session, llama_token * tokens_out, size_t n_token_capacity, size_t * n_token_count_out);
bool llama_save_session_file(struct llama_context * ctx, const char * path_session, const llama_token * tokens, size_t n_token_count);
void llama_set_warmup(struct llama_context * ctx, bool warmup);
const char * llama_token_get_text(const struct llama_vocab * vocab, llama_token token);
float llama_token_get_score(const struct llama_vocab * vocab, llama_token token);
enum llama_token_attr llama_token_get_attr(const struct llama_vocab * vocab, llama_token token);
bool llama_token_is_eog(const struct llama_vocab * vocab, llama_token token);
bool llama_token_is_control(const struct llama_vocab * vocab, llama_token token);
llama_token llama_token_bos(const struct llama_vocab * vocab);
llama_token llama_token_eos(const struct llama_vocab * vocab);
llama_token llama_token_eot(const struct llama_vocab * vocab);
llama_token llama_token_cls(const struct llama_vocab * vocab);
llama_token llama_token_sep(const struct llama_vocab * vocab);
llama_token llama_token_nl(const struct llama_vocab * vocab);
llama_token llama_token_pad(const struct llama_vocab * vocab);
bool llama_add_bos_token(const struct llama_vocab * vocab);
bool llama_add_eos_token(const struct llama_vocab * vocab);
llama_token llama_token_fim_pre(const struct llama_vocab * vocab);
llama_token llama_token_fim_suf(const struct llama_vocab * vocab);
llama_token llama_token_fim_mid(const struct llama_vocab * vocab);
llama_token llama_token_fim_pad(const struct llama_vocab * vocab);
llama_token llama_token_fim_rep(const struct llama_vocab * vocab);
llama_token llama_token_fim_sep(const struct llama_vocab * vocab);
llama_token llama_vocab_cls(const struct llama_vocab * vocab);
struct llama_sampler * llama_sampler_init_grammar_lazy(const struct llama_vocab * vocab, const char * grammar_str, const char * grammar_root, const char ** trigger_words, size_t num_trigger_words, const llama_token * trigger_tokens, size_t num_trigger_tokens);
"""
"""Functions that llama.h marks as deprecated."""

CONSTANTS = {
    "GGML_ROPE_TYPE_NEOX": 2,
    "GGML_ROPE_TYPE_MROPE": 8,
    "GGML_ROPE_TYPE_VISION": 24,
    "GGML_ROPE_TYPE_IMROPE": 40,
    "GGML_TYPE_COUNT": 43,
    "LLAMA_DEFAULT_SEED": 0xFFFFFFFF,
    "LLAMA_TOKEN_NULL": -1,
    "LLAMA_FILE_MAGIC_GGLA": 0x67676C61,
    "LLAMA_FILE_MAGIC_GGSN": 0x6767736E,
    "LLAMA_FILE_MAGIC_GGSQ": 0x67677371,
    "LLAMA_SESSION_MAGIC": 0x6767736E,
    "LLAMA_SESSION_VERSION": 10,
    "LLAMA_STATE_SEQ_MAGIC": 0x67677371,
    "LLAMA_STATE_SEQ_VERSION": 3,
    "LLAMA_STATE_SEQ_FLAGS_NONE": 0,
    "LLAMA_STATE_SEQ_FLAGS_SWA_ONLY": 1,
    "LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY": 1,
    "LLAMA_STATE_SEQ_FLAGS_ON_DEVICE": 2,
    "LLAMA_ROPE_SCALING_TYPE_MAX_VALUE": 3,
}
"""Macros and aliases."""


class llama_rope_type(IntEnum):
    """`enum llama_rope_type`."""

    LLAMA_ROPE_TYPE_NONE = -1
    LLAMA_ROPE_TYPE_NORM = 0
    LLAMA_ROPE_TYPE_NEOX = 2
    LLAMA_ROPE_TYPE_MROPE = 8
    LLAMA_ROPE_TYPE_IMROPE = 40
    LLAMA_ROPE_TYPE_VISION = 24


class llama_token_type(IntEnum):
    """`enum llama_token_type`."""

    LLAMA_TOKEN_TYPE_UNDEFINED = 0
    LLAMA_TOKEN_TYPE_NORMAL = 1
    LLAMA_TOKEN_TYPE_UNKNOWN = 2
    LLAMA_TOKEN_TYPE_CONTROL = 3
    LLAMA_TOKEN_TYPE_USER_DEFINED = 4
    LLAMA_TOKEN_TYPE_UNUSED = 5
    LLAMA_TOKEN_TYPE_BYTE = 6


class llama_process_type(IntEnum):
    """`enum llama_process_type`."""

    LLAMA_PROCESS_TYPE_ENCODE = 0
    LLAMA_PROCESS_TYPE_DECODE = 1


class ggml_opt_optimizer_type(IntEnum):
    """`enum ggml_opt_optimizer_type`."""

    GGML_OPT_OPTIMIZER_TYPE_ADAMW = 0
    GGML_OPT_OPTIMIZER_TYPE_SGD = 1
    GGML_OPT_OPTIMIZER_TYPE_COUNT = 2
