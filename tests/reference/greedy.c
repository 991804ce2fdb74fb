// The plainest greedy loop over llama.h: what our engine's output is compared with.
//   greedy MODEL N_PREDICT N_CTX PROMPT   prints the generated token ids, one a line
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llama.h"

static void be_silent(enum ggml_log_level level, const char * text, void * user_data) {
    (void) level;
    (void) text;
    (void) user_data;
}

int main(int argc, char ** argv) {
    if (argc != 5) {
        return 2;
    }
    llama_log_set(be_silent, NULL);
    llama_backend_init();
    struct llama_model * model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!model) {
        return 3;
    }
    const struct llama_vocab *  vocab  = llama_model_get_vocab(model);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx                       = (uint32_t) atoi(argv[3]);
    struct llama_context * ctx         = llama_init_from_model(model, params);
    const int              capacity    = (int) strlen(argv[4]) + 16;
    llama_token *          tokens      = malloc(sizeof(llama_token) * (size_t) capacity);
    int                    count = llama_tokenize(vocab, argv[4], (int) strlen(argv[4]), tokens, capacity, true, false);
    struct llama_sampler * greedy = llama_sampler_init_greedy();
    struct llama_batch     batch  = llama_batch_get_one(tokens, count);
    for (int i = 0; i < atoi(argv[2]); ++i) {
        if (llama_decode(ctx, batch) != 0) {
            return 4;
        }
        llama_token token = llama_sampler_sample(greedy, ctx, -1);
        if (llama_vocab_is_eog(vocab, token)) {
            break;
        }
        printf("%d\n", token);
        tokens[0] = token;
        batch     = llama_batch_get_one(tokens, 1);
    }
    llama_sampler_free(greedy);
    free(tokens);
    llama_free(ctx);
    llama_model_free(model);
    return 0;
}
