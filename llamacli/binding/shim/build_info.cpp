// Prints the build information of `llamacli --version` as JSON at build time, so that the libraries need not be loaded for it.
#include <cstdio>

#include "ggml-backend.h"
#include "ggml-rpc.h"
#include "llama.h"

static void print_string(const char * text) {
    std::putchar('"');
    for (; *text; ++text) {
        if (*text == '"' || *text == '\\') {
            std::putchar('\\');
        }
        std::putchar(static_cast<unsigned char>(*text) < 0x20 ? ' ' : *text);
    }
    std::putchar('"');
}

int main(int argc, char ** argv) {
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    if (argc > 3) {
        ggml_backend_load_all_from_path(argv[3]);
    }
    std::printf("{\"commit\": ");
    print_string(argc > 1 ? argv[1] : "unknown");
    std::printf(", \"compiler\": ");
    print_string(argc > 2 ? argv[2] : "");
    std::printf(", \"llama_version\": ");
    print_string(llama_version());
    std::printf(", \"dynamic_backends\": %s, \"system_info\": ", argc > 3 ? "true" : "false");
    print_string(llama_print_system_info());
    std::printf(", \"backends\": [");
    for (size_t i = 0; i < ggml_backend_reg_count(); ++i) {
        std::printf(i ? ", " : "");
        print_string(ggml_backend_reg_name(ggml_backend_reg_get(i)));
    }
    std::printf("], \"media\": \"libmtmd\"");
    std::printf(", \"rpc_protocol\": [%d, %d, %d]}\n", RPC_PROTO_MAJOR_VERSION, RPC_PROTO_MINOR_VERSION, RPC_PROTO_PATCH_VERSION);
    return 0;
}
