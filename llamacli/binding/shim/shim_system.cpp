// The memory that a model needs on each device, and a description of this build and machine: see shim.h.
#include "shim.h"

#include "build-info.h"
#include "fit.h"
#include "ggml-backend.h"
#include "shim_json.h"

#include <algorithm>
#include <memory>
#include <vector>

using llamacli::failure;
using llamacli::json;

struct llamacli_fitted { // the arrays that the fitted parameters point to
    std::vector<float>                            split{ std::vector<float>(llama_max_devices(), 0.0f) };
    std::vector<llama_model_tensor_buft_override> overrides{ llama_max_tensor_buft_overrides(), { nullptr, nullptr } };
};

namespace {

json device(ggml_backend_dev_t dev) {
    static constexpr const char * types[] = { "cpu", "gpu", "igpu", "accelerator", "meta" };
    static_assert(GGML_BACKEND_DEVICE_TYPE_CPU == 0 && GGML_BACKEND_DEVICE_TYPE_META == 4, "names of the types");
    ggml_backend_dev_props props;
    ggml_backend_dev_get_props(dev, &props);
    json result = {
        { "name", props.name },
        { "description", props.description },
        { "type", types[props.type] },
        { "total", props.memory_total },
        { "free", props.memory_free },
    };
    result["id"] = props.device_id ? json(props.device_id) : json();
    return result;
}

json features(ggml_backend_reg_t reg) {
    json       result = json::object();
    const auto get    = (ggml_backend_get_features_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_get_features");
    if (get) {
        for (const auto * feature = get(reg); feature && feature->name; ++feature) {
            result[feature->name] = feature->value;
        }
    }
    return result;
}

json backends() {
    json result = json::array();
    for (size_t i = 0; i < ggml_backend_reg_count(); ++i) {
        const auto reg     = ggml_backend_reg_get(i);
        json       devices = json::array();
        for (size_t j = 0; j < ggml_backend_reg_dev_count(reg); ++j) {
            devices.push_back(device(ggml_backend_reg_dev_get(reg, j)));
        }
        result.push_back({ { "name", ggml_backend_reg_name(reg) }, { "features", features(reg) }, { "devices", devices } });
    }
    return result;
}

json memory(const char * path, const llama_model_params & model, const llama_context_params & context) {
    std::vector<ggml_backend_dev_t> devs;
    uint32_t                        n_layer     = 0;
    uint32_t                        n_ctx_train = 0;
    uint32_t                        n_expert    = 0;
    common_device_memory_data_vec   data;
    {
        const llamacli::log_kept kept;
        data = common_get_device_memory_data(path, &model, &context, devs, n_layer, n_ctx_train, n_expert, GGML_LOG_LEVEL_ERROR);
    }
    json devices = json::array();
    for (size_t i = 0; i < data.size(); ++i) {
        const auto dev = i < devs.size() ? devs[i] : ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
        devices.push_back({
            { "name", ggml_backend_dev_name(dev) },
            { "description", ggml_backend_dev_description(dev) },
            { "host", i >= devs.size() },
            { "total", data[i].total },
            { "free", data[i].free },
            { "model", data[i].model },
            { "context", data[i].context },
            { "compute", data[i].compute },
        });
    }
    return { { "devices", devices }, { "n_layer", n_layer }, { "n_ctx_train", n_ctx_train }, { "n_expert", n_expert } };
}

json fit(const char * path, llama_model_params & model, llama_context_params & context, size_t margin, uint32_t n_ctx_min,
         llamacli_fitted & fitted) {
    std::vector<size_t>      margins(std::max<size_t>(llama_max_devices(), 1), margin);
    common_params_fit_status status;
    {
        const llamacli::log_kept kept;
        status = common_fit_params(
            path, &model, &context, fitted.split.data(), fitted.overrides.data(), margins.data(), n_ctx_min, nullptr, GGML_LOG_LEVEL_ERROR);
    }
    if (status == COMMON_PARAMS_FIT_STATUS_ERROR) {
        throw failure("model", "llama.cpp could not measure the model");
    }
    json split     = json::array();
    json overrides = json::array();
    if (model.tensor_split) {
        for (size_t i = 0; i < llama_max_devices(); ++i) {
            split.push_back(model.tensor_split[i]);
        }
    }
    for (const auto * override = model.tensor_buft_overrides; override && override->pattern; ++override) {
        overrides.push_back(json::array({ override->pattern, ggml_backend_buft_name(override->buft) }));
    }
    return {
        { "fits", status == COMMON_PARAMS_FIT_STATUS_SUCCESS },
        { "n_gpu_layers", model.n_gpu_layers },
        { "n_ctx", context.n_ctx },
        { "tensor_split", split },
        { "overrides", overrides },
    };
}

} // namespace

extern "C" {

char * llamacli_memory(const char * path, const llama_model_params * model, const llama_context_params * context) {
    return llamacli::answer("model", [&] { return memory(path, *model, *context); });
}

char * llamacli_fit(const char * path, llama_model_params * model, llama_context_params * context, size_t margin,
                    uint32_t n_ctx_min, llamacli_fitted ** fitted) {
    return llamacli::answer("model", [&] {
        auto made   = std::make_unique<llamacli_fitted>();
        json result = fit(path, *model, *context, margin, n_ctx_min, *made);
        *fitted     = made.release();
        return result;
    });
}

void llamacli_fitted_free(llamacli_fitted * fitted) {
    delete fitted;
}

char * llamacli_system(void) {
    return llamacli::answer("internal", [] {
        return json{
            { "commit", llama_commit() },
            { "compiler", llama_compiler() },
            { "target", llama_build_target() },
            { "llama_version", llama_version() },
            { "system_info", llama_print_system_info() },
            { "backends", backends() },
        };
    });
}

} // extern "C"
