"""The C declarations that llamacli uses, each written once, as C.

`prototypes.py` derives ctypes types from this text, and `abi_check.py` compiles the same text against the real headers, so that a
wrong declaration fails the build. Names and layouts are those of `llama.h`, `ggml.h`, `ggml-backend.h`, `mtmd.h` and our own `shim.h`.
"""

HEADERS = (
    "ggml.h", "ggml-backend.h", "ggml-cpu.h", "ggml-rpc.h", "llama.h", "shim_step.h", "shim_measure.h", "shim_imatrix.h",
    "shim_weights.h", "shim_heads.h", "shim.h", "shim_roofline.h", "choice.h", "waits.h", "mtmd.h",
)  # fmt: skip

OPAQUE = """
llama_vocab llama_model llama_context llama_sampler llama_adapter_lora llama_memory_i
llama_model_tensor_buft_override
ggml_backend_device ggml_backend_reg ggml_tensor
llamacli_abort llamacli_constraint llamacli_chat llamacli_parser llamacli_fitted llamacli_products
llamacli_workers llamacli_imatrix llamacli_heads
mtmd_context mtmd_bitmap mtmd_image_tokens mtmd_input_chunk mtmd_input_chunks
"""
"""Structures that are handled by pointer only."""

TYPEDEFS = """
typedef struct llama_memory_i * llama_memory_t;
typedef struct ggml_backend_device * ggml_backend_dev_t;
typedef struct ggml_backend_reg * ggml_backend_reg_t;
typedef int32_t llama_pos;
typedef int32_t llama_token;
typedef int32_t llama_seq_id;
typedef uint32_t llama_state_seq_flags;
typedef bool (*llama_progress_callback)(float progress, void * user_data);
typedef bool (*ggml_abort_callback)(void * data);
typedef void (*ggml_log_callback)(enum ggml_log_level level, const char * text, void * user_data);
typedef bool (*ggml_backend_sched_eval_callback)(struct ggml_tensor * t, bool ask, void * user_data);
typedef bool (*mtmd_progress_callback)(float progress, void * user_data);
"""

STRUCTS = """
union llama_model_kv_override_value { int64_t val_i64; double val_f64; bool val_bool; char val_str[128]; };

struct llama_model_kv_override {
    enum llama_model_kv_override_type tag;
    char key[128];
    union llama_model_kv_override_value value;
};

struct llama_token_data { llama_token id; float logit; float p; };

struct llama_batch {
    int32_t n_tokens; llama_token * token; float * embd; llama_pos * pos; int32_t * n_seq_id; llama_seq_id ** seq_id; int8_t * logits;
};

struct llama_model_params {
    ggml_backend_dev_t * devices;
    const struct llama_model_tensor_buft_override * tensor_buft_overrides;
    int32_t n_gpu_layers;
    enum llama_split_mode split_mode;
    enum llama_load_mode load_mode;
    enum llama_lazy_mode lazy_mode;
    int32_t main_gpu;
    const float * tensor_split;
    llama_progress_callback progress_callback;
    void * progress_callback_user_data;
    const struct llama_model_kv_override * kv_overrides;
    bool vocab_only;
    bool check_tensors;
    bool use_extra_bufts;
    bool no_host;
    bool no_alloc;
    bool load_mtp;
};

struct llama_sampler_seq_config { llama_seq_id seq_id; struct llama_sampler * sampler; };

struct llama_context_params {
    uint32_t n_ctx;
    uint32_t n_batch;
    uint32_t n_ubatch;
    uint32_t n_seq_max;
    uint32_t n_rs_seq;
    uint32_t n_outputs_max;
    uint32_t n_outputs_max_per_seq;
    int32_t n_threads;
    int32_t n_threads_batch;
    enum llama_context_type ctx_type;
    enum llama_rope_scaling_type rope_scaling_type;
    enum llama_pooling_type pooling_type;
    enum llama_attention_type attention_type;
    enum llama_flash_attn_type flash_attn_type;
    float rope_freq_base;
    float rope_freq_scale;
    float yarn_ext_factor;
    float yarn_attn_factor;
    float yarn_beta_fast;
    float yarn_beta_slow;
    uint32_t yarn_orig_ctx;
    float defrag_thold;
    ggml_backend_sched_eval_callback cb_eval;
    void * cb_eval_user_data;
    enum ggml_type type_k;
    enum ggml_type type_v;
    ggml_abort_callback abort_callback;
    void * abort_callback_data;
    bool embeddings;
    bool offload_kqv;
    bool no_perf;
    bool op_offload;
    bool swa_full;
    bool kv_unified;
    struct llama_sampler_seq_config * samplers;
    size_t n_samplers;
    struct llama_context * ctx_other;
};

struct llama_model_imatrix_data { const char * name; const float * data; size_t size; };

struct llama_model_tensor_override { const char * pattern; enum ggml_type type; };

struct llama_model_quantize_params {
    int32_t nthread;
    enum llama_ftype ftype;
    enum ggml_type output_tensor_type;
    enum ggml_type token_embedding_type;
    bool allow_requantize;
    bool quantize_output_tensor;
    bool only_copy;
    bool pure;
    bool keep_split;
    bool dry_run;
    const struct llama_model_imatrix_data * imatrix;
    const struct llama_model_kv_override * kv_overrides;
    const struct llama_model_tensor_override * tt_overrides;
    const int32_t * prune_layers;
    size_t max_buf_size;
};

struct llama_logit_bias { llama_token token; float bias; };

struct llama_sampler_chain_params { bool no_perf; };

struct mtmd_context_params {
    bool use_gpu;
    ggml_backend_dev_t device;
    bool print_timings;
    int n_threads;
    const char * image_marker;
    const char * media_marker;
    enum llama_flash_attn_type flash_attn_type;
    bool warmup;
    int image_min_tokens;
    int image_max_tokens;
    ggml_backend_sched_eval_callback cb_eval;
    void * cb_eval_user_data;
    int32_t batch_max_tokens;
    mtmd_progress_callback progress_callback;
    void * progress_callback_user_data;
};

struct mtmd_input_text { const char * text; size_t text_len; bool add_special; bool parse_special; };

struct mtmd_input_part { const struct mtmd_input_text * text; const struct mtmd_bitmap * bitmap; };

struct mtmd_decoder_pos { uint32_t t; uint32_t x; uint32_t y; uint32_t z; };

struct llamacli_choice { llama_token token; int32_t n_top; float logprob; };

struct llamacli_candidate { llama_token token; float logprob; };

struct llamacli_times { int64_t total_ns; int64_t prompt_ns; };

struct llamacli_difference {
    double squared_error;
    double largest;
    double squared_a;
    double squared_b;
    double product;
    int64_t n_values;
    int64_t n_not_finite;
};

struct llamacli_lane {
    struct llama_sampler * chain;
    struct llamacli_constraint * constraint;
    const struct llama_logit_bias * biases;
    int32_t n_biases;
    int32_t top_k;
    int32_t n_top;
    int32_t certain;
    float least;
    bool greedy;
    llama_seq_id sequence;
    llama_pos position;
    llama_token token;
};
"""
"""The union of `llama_model_kv_override` has no name in C: its members are members of the structure."""

FUNCTIONS = """
// --- library
const char * llama_version(void);
void llama_backend_init(void);
void llama_numa_init(enum ggml_numa_strategy numa);
int64_t llama_time_us(void);
size_t llama_max_devices(void);
bool llama_supports_gpu_offload(void);
size_t ggml_row_size(enum ggml_type type, int64_t ne);

// --- backends and devices
void ggml_backend_load_all_from_path(const char * dir_path);
size_t ggml_backend_dev_count(void);
ggml_backend_dev_t ggml_backend_dev_get(size_t index);
ggml_backend_dev_t ggml_backend_dev_by_name(const char * name);
const char * ggml_backend_dev_name(ggml_backend_dev_t device);
const char * ggml_backend_dev_description(ggml_backend_dev_t device);
void ggml_backend_dev_memory(ggml_backend_dev_t device, size_t * free, size_t * total);
enum ggml_backend_dev_type ggml_backend_dev_type(ggml_backend_dev_t device);
size_t ggml_backend_reg_dev_count(ggml_backend_reg_t reg);
ggml_backend_dev_t ggml_backend_reg_dev_get(ggml_backend_reg_t reg, size_t index);
void ggml_backend_register(ggml_backend_reg_t reg);
ggml_backend_reg_t ggml_backend_rpc_add_server(const char * endpoint);
void ggml_backend_rpc_start_server(const char * endpoint, const char * cache_dir, size_t n_threads, size_t n_devices, ggml_backend_dev_t * devices);

// --- model
struct llama_model_params llama_model_default_params(void);
struct llama_model * llama_model_load_from_file(const char * path_model, struct llama_model_params params);
void llama_model_free(struct llama_model * model);
const struct llama_vocab * llama_model_get_vocab(const struct llama_model * model);
int32_t llama_model_n_ctx_train(const struct llama_model * model);
int32_t llama_model_n_embd(const struct llama_model * model);
int32_t llama_model_n_embd_inp(const struct llama_model * model);
int32_t llama_model_n_embd_out(const struct llama_model * model);
int32_t llama_model_n_layer(const struct llama_model * model);
int32_t llama_model_n_head(const struct llama_model * model);
int32_t llama_model_n_head_kv(const struct llama_model * model);
int32_t llama_model_n_swa(const struct llama_model * model);
uint32_t llama_model_n_cls_out(const struct llama_model * model);
int32_t llama_model_meta_val_str(const struct llama_model * model, const char * key, char * buf, size_t buf_size);
int32_t llama_model_meta_count(const struct llama_model * model);
const char * llama_model_meta_key_str(enum llama_model_meta_key key);
int32_t llama_model_meta_key_by_index(const struct llama_model * model, int32_t i, char * buf, size_t buf_size);
int32_t llama_model_desc(const struct llama_model * model, char * buf, size_t buf_size);
uint64_t llama_model_size(const struct llama_model * model);
const char * llama_model_chat_template(const struct llama_model * model, const char * name);
uint64_t llama_model_n_params(const struct llama_model * model);
bool llama_model_has_encoder(const struct llama_model * model);
bool llama_model_has_decoder(const struct llama_model * model);
bool llama_model_is_recurrent(const struct llama_model * model);
bool llama_model_is_hybrid(const struct llama_model * model);
bool llama_model_is_diffusion(const struct llama_model * model);
struct llama_model_quantize_params llama_model_quantize_default_params(void);
uint32_t llama_model_quantize(const char * fname_inp, const char * fname_out, const struct llama_model_quantize_params * params);

// --- adapters
struct llama_adapter_lora * llama_adapter_lora_init(struct llama_model * model, const char * path_lora);
int32_t llama_set_adapters_lora(struct llama_context * ctx, struct llama_adapter_lora ** adapters, size_t n_adapters, float * scales);

// --- context
struct llama_context_params llama_context_default_params(void);
struct llama_context * llama_init_from_model(struct llama_model * model, struct llama_context_params params);
void llama_free(struct llama_context * ctx);
uint32_t llama_n_rs_seq(const struct llama_context * ctx);
uint32_t llama_n_ctx_seq(const struct llama_context * ctx);
uint32_t llama_n_batch(const struct llama_context * ctx);
llama_memory_t llama_get_memory(const struct llama_context * ctx);
enum llama_pooling_type llama_pooling_type(const struct llama_context * ctx);
void llama_set_causal_attn(struct llama_context * ctx, bool causal_attn);
int32_t llama_decode(struct llama_context * ctx, struct llama_batch batch);
void llama_synchronize(struct llama_context * ctx);
void llama_set_n_threads(struct llama_context * ctx, int32_t n_threads, int32_t n_threads_batch);
float * llama_get_logits_ith(struct llama_context * ctx, int32_t i);
float * llama_get_embeddings_ith(struct llama_context * ctx, int32_t i);
float * llama_get_embeddings_seq(struct llama_context * ctx, llama_seq_id seq_id);

// --- memory
void llama_memory_clear(llama_memory_t mem, bool data);
bool llama_memory_seq_rm(llama_memory_t mem, llama_seq_id seq_id, llama_pos p0, llama_pos p1);
void llama_memory_seq_cp(llama_memory_t mem, llama_seq_id seq_id_src, llama_seq_id seq_id_dst, llama_pos p0, llama_pos p1);
void llama_memory_seq_add(llama_memory_t mem, llama_seq_id seq_id, llama_pos p0, llama_pos p1, llama_pos delta);
llama_pos llama_memory_seq_pos_min(llama_memory_t mem, llama_seq_id seq_id);
llama_pos llama_memory_seq_pos_max(llama_memory_t mem, llama_seq_id seq_id);
bool llama_memory_can_shift(llama_memory_t mem);

// --- state (the file functions abort on damaged input: state files have our own container)
size_t llama_state_seq_get_size_ext(struct llama_context * ctx, llama_seq_id seq_id, llama_state_seq_flags flags);
size_t llama_state_seq_get_data_ext(struct llama_context * ctx, uint8_t * dst, size_t size, llama_seq_id seq_id, llama_state_seq_flags flags);
size_t llama_state_seq_set_data_ext(struct llama_context * ctx, const uint8_t * src, size_t size, llama_seq_id dest_seq_id, llama_state_seq_flags flags);

// --- vocabulary and tokenization
enum llama_vocab_type llama_vocab_type(const struct llama_vocab * vocab);
int32_t llama_vocab_n_tokens(const struct llama_vocab * vocab);
const char * llama_vocab_get_text(const struct llama_vocab * vocab, llama_token token);
enum llama_token_attr llama_vocab_get_attr(const struct llama_vocab * vocab, llama_token token);
bool llama_vocab_is_eog(const struct llama_vocab * vocab, llama_token token);
bool llama_vocab_is_control(const struct llama_vocab * vocab, llama_token token);
llama_token llama_vocab_bos(const struct llama_vocab * vocab);
llama_token llama_vocab_eos(const struct llama_vocab * vocab);
llama_token llama_vocab_sep(const struct llama_vocab * vocab);
llama_token llama_vocab_nl(const struct llama_vocab * vocab);
bool llama_vocab_get_add_bos(const struct llama_vocab * vocab);
bool llama_vocab_get_add_eos(const struct llama_vocab * vocab);
bool llama_vocab_get_add_sep(const struct llama_vocab * vocab);
const llama_token * llama_vocab_get_suppress_tokens(const struct llama_vocab * vocab, int32_t * n_suppress_tokens);
llama_token llama_vocab_fim_pre(const struct llama_vocab * vocab);
llama_token llama_vocab_fim_suf(const struct llama_vocab * vocab);
llama_token llama_vocab_fim_mid(const struct llama_vocab * vocab);
int32_t llama_tokenize(const struct llama_vocab * vocab, const char * text, int32_t text_len, llama_token * tokens, int32_t n_tokens_max, bool add_special, bool parse_special);
int32_t llama_token_to_piece(const struct llama_vocab * vocab, llama_token token, char * buf, int32_t length, int32_t lstrip, bool special);
int32_t llama_detokenize(const struct llama_vocab * vocab, const llama_token * tokens, int32_t n_tokens, char * text, int32_t text_len_max, bool remove_special, bool unparse_special);

// --- samplers
void llama_sampler_accept(struct llama_sampler * smpl, llama_token token);
void llama_sampler_free(struct llama_sampler * smpl);
struct llama_sampler_chain_params llama_sampler_chain_default_params(void);
struct llama_sampler * llama_sampler_chain_init(struct llama_sampler_chain_params params);
void llama_sampler_chain_add(struct llama_sampler * chain, struct llama_sampler * smpl);
struct llama_sampler * llama_sampler_init_dist(uint32_t seed);
struct llama_sampler * llama_sampler_init_top_k(int32_t k);
struct llama_sampler * llama_sampler_init_top_p(float p, size_t min_keep);
struct llama_sampler * llama_sampler_init_min_p(float p, size_t min_keep);
struct llama_sampler * llama_sampler_init_typical(float p, size_t min_keep);
struct llama_sampler * llama_sampler_init_temp_ext(float t, float delta, float exponent);
struct llama_sampler * llama_sampler_init_xtc(float p, float t, size_t min_keep, uint32_t seed);
struct llama_sampler * llama_sampler_init_top_n_sigma(float n);
struct llama_sampler * llama_sampler_init_mirostat(int32_t n_vocab, uint32_t seed, float tau, float eta, int32_t m);
struct llama_sampler * llama_sampler_init_mirostat_v2(uint32_t seed, float tau, float eta);
struct llama_sampler * llama_sampler_init_penalties(int32_t n_vocab, int32_t penalty_last_n, float penalty_repeat, float penalty_freq, float penalty_present);
struct llama_sampler * llama_sampler_init_dry(const struct llama_vocab * vocab, float dry_multiplier, float dry_base, int32_t dry_allowed_length, int32_t dry_penalty_last_n, const char ** seq_breakers, size_t num_breakers);
struct llama_sampler * llama_sampler_init_adaptive_p(float target, float decay, uint32_t seed);
struct llama_sampler * llama_sampler_init_infill(const struct llama_vocab * vocab);

// --- shim_step.cpp: cancelling, and one step of sampling
const char * llamacli_llama_cpp_commit(void);
struct llamacli_abort * llamacli_abort_new(void);
void llamacli_abort_free(struct llamacli_abort * abort);
void llamacli_abort_set(struct llamacli_abort * abort, bool value);
bool llamacli_abort_get(const struct llamacli_abort * abort);
bool llamacli_abort_callback(void * abort);
bool llamacli_progress_callback(float progress, void * abort);
bool llamacli_node_callback(struct ggml_tensor * tensor, bool ask, void * abort);
float llamacli_abort_progress(const struct llamacli_abort * abort);
void llamacli_log_filter(ggml_log_callback callback, enum ggml_log_level min_level);
void llamacli_log_callback(enum ggml_log_level level, const char * text, void * user_data);
struct llamacli_constraint * llamacli_constraint_create(const struct llama_vocab * vocab, const char * grammar, const char * root);
void llamacli_constraint_free(struct llamacli_constraint * constraint);
int32_t llamacli_constraint_accept(struct llamacli_constraint * constraint, const llama_token * tokens, int32_t n_tokens);
bool llamacli_constraint_accept_text(struct llamacli_constraint * constraint, const char * text, size_t n_bytes);
int32_t llamacli_constraint_certain(struct llamacli_constraint * constraint, char * text, int32_t capacity);
int32_t llamacli_constraint_state(const struct llamacli_constraint * constraint);
int32_t llamacli_sample(struct llama_context * ctx, int32_t index, const struct llamacli_lane * lane, struct llamacli_choice * choice, struct llamacli_candidate * top);
int32_t llamacli_burst(struct llama_context * ctx, struct llamacli_lane * lanes, int32_t n_lanes, int32_t max_steps, int64_t budget_us, struct llamacli_choice * choices, int32_t * n_steps);
int32_t llamacli_end_tokens(const struct llama_vocab * vocab, llama_token * tokens, int32_t capacity);

// --- kernels/choice.cpp: which kernels compute on the CPU
void llamacli_choose_kernels(enum llamacli_kernels kernels);
enum llamacli_kernels llamacli_chosen_kernels(void);
const char * llamacli_kernels_instructions(void);
bool llamacli_kernels_need_no_repacking(void);

// --- waits/waits.cpp: how the threads of a graph wait for each other
void llamacli_follow_load(bool follow);
bool llamacli_follows_load(void);

// --- shim_measure.cpp: what benchmarks time
struct llamacli_workers * llamacli_workers_new(int32_t n_threads, const uint8_t * cpus, int32_t n_cpus, bool strict, uint32_t poll);
void llamacli_workers_free(struct llamacli_workers * workers);
void llamacli_workers_attach(const struct llamacli_workers * workers, struct llama_context * ctx);
int32_t llamacli_measure_tokens(struct llama_context * ctx, int32_t n_prompt, int32_t n_gen, int32_t n_sequences, int32_t n_batch, int64_t * steps_ns, struct llamacli_times * times);

// --- shim_imatrix.cpp: importance matrices
struct llamacli_imatrix * llamacli_imatrix_new(bool with_output);
void llamacli_imatrix_free(struct llamacli_imatrix * imatrix);
bool llamacli_imatrix_callback(struct ggml_tensor * tensor, bool ask, void * imatrix);
const char * llamacli_imatrix_error(const struct llamacli_imatrix * imatrix);
int32_t llamacli_imatrix_size(const struct llamacli_imatrix * imatrix);
const char * llamacli_imatrix_name(const struct llamacli_imatrix * imatrix, int32_t index);
int64_t llamacli_imatrix_n_sums(const struct llamacli_imatrix * imatrix, int32_t index);
int64_t llamacli_imatrix_n_counts(const struct llamacli_imatrix * imatrix, int32_t index);
const float * llamacli_imatrix_sums(const struct llamacli_imatrix * imatrix, int32_t index);
const int64_t * llamacli_imatrix_counts(const struct llamacli_imatrix * imatrix, int32_t index);

// --- shim_weights.cpp: how far the weights of two files are apart
bool llamacli_compare_values(enum ggml_type type_a, const uint8_t * a, enum ggml_type type_b, const uint8_t * b, int64_t n_values, struct llamacli_difference * difference);

// --- shim_heads.cpp: drafts by a model's own heads
struct llamacli_heads * llamacli_heads_new(struct llama_context * model, struct llama_context * heads, int32_t n_sequences, int32_t n_outputs);
void llamacli_heads_free(struct llamacli_heads * heads);
int32_t llamacli_heads_follow(struct llamacli_heads * heads, llama_seq_id sequence, const llama_token * tokens, int32_t n_tokens, llama_pos position, int32_t output);
llama_pos llamacli_heads_position(const struct llamacli_heads * heads, llama_seq_id sequence);
int32_t llamacli_heads_draft(struct llamacli_heads * heads, struct llamacli_lane * lane, int32_t max_steps, struct llamacli_choice * choices, int32_t * n_steps);

// --- shim*.cpp over llama-common: JSON in, JSON out
void llamacli_free(char * text);
char * llamacli_chat_create(const char * request, struct llamacli_chat ** chat);
void llamacli_chat_free(struct llamacli_chat * chat);
char * llamacli_chat_builtins(void);
char * llamacli_chat_render(struct llamacli_chat * chat, const char * request);
char * llamacli_parser_create(const char * request, struct llamacli_parser ** parser);
void llamacli_parser_free(struct llamacli_parser * parser);
char * llamacli_parser_parse(struct llamacli_parser * parser, const char * request);
char * llamacli_memory(const char * path, const struct llama_model_params * model, const struct llama_context_params * context);
char * llamacli_fit(const char * path, struct llama_model_params * model, struct llama_context_params * context, size_t margin, uint32_t n_ctx_min, struct llamacli_fitted ** fitted);
void llamacli_fitted_free(struct llamacli_fitted * fitted);
char * llamacli_system(void);

// --- shim_roofline.cpp: what memory and arithmetic units give
char * llamacli_measure_reading(const char * request, const struct llamacli_abort * abort);
char * llamacli_products_create(const char * request, struct llamacli_products ** products);
void llamacli_products_free(struct llamacli_products * products);
char * llamacli_products_run(struct llamacli_products * products, const char * request, struct llamacli_abort * abort);

// --- libmtmd, which is loaded when a projector is: pictures and sound to embeddings
struct mtmd_context_params mtmd_context_params_default(void);
struct mtmd_context * mtmd_init_from_file(const char * mmproj_fname, const struct llama_model * text_model, const struct mtmd_context_params ctx_params);
void mtmd_free(struct mtmd_context * ctx);
void mtmd_log_set(ggml_log_callback log_callback, void * user_data);
bool mtmd_decode_use_non_causal(const struct mtmd_context * ctx, const struct mtmd_input_chunk * chunk);
bool mtmd_decode_use_mrope(const struct mtmd_context * ctx);
bool mtmd_support_vision(const struct mtmd_context * ctx);
bool mtmd_support_audio(const struct mtmd_context * ctx);
int mtmd_get_audio_sample_rate(const struct mtmd_context * ctx);
struct mtmd_bitmap * mtmd_bitmap_init(uint32_t nx, uint32_t ny, const uint8_t * data);
struct mtmd_bitmap * mtmd_bitmap_init_from_audio(size_t n_samples, const float * data);
void mtmd_bitmap_free(struct mtmd_bitmap * bitmap);
struct mtmd_input_chunks * mtmd_input_chunks_init(void);
size_t mtmd_input_chunks_size(const struct mtmd_input_chunks * chunks);
const struct mtmd_input_chunk * mtmd_input_chunks_get(const struct mtmd_input_chunks * chunks, size_t idx);
void mtmd_input_chunks_free(struct mtmd_input_chunks * chunks);
enum mtmd_input_chunk_type mtmd_input_chunk_get_type(const struct mtmd_input_chunk * chunk);
const llama_token * mtmd_input_chunk_get_tokens_text(const struct mtmd_input_chunk * chunk, size_t * n_tokens_output);
const struct mtmd_image_tokens * mtmd_input_chunk_get_tokens_image(const struct mtmd_input_chunk * chunk);
size_t mtmd_input_chunk_get_n_tokens(const struct mtmd_input_chunk * chunk);
llama_pos mtmd_input_chunk_get_n_pos(const struct mtmd_input_chunk * chunk);
struct mtmd_decoder_pos mtmd_image_tokens_get_decoder_pos(const struct mtmd_image_tokens * image_tokens, llama_pos pos_0, size_t i);
int32_t mtmd_tokenize_from_parts(const struct mtmd_context * ctx, struct mtmd_input_chunks * output, const struct mtmd_input_part * const * parts, size_t n_parts, bool add_special);
int32_t mtmd_encode_chunk(struct mtmd_context * ctx, const struct mtmd_input_chunk * chunk);
float * mtmd_get_output_embd(struct mtmd_context * ctx);
"""
