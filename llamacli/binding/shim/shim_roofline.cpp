// Speed of reading memory and of multiplying matrices: see shim_roofline.h.
#include "shim_roofline.h"

#include "choice.h"
#include "ggml-backend.h"
#include "ggml-cpp.h"
#include "shim_json.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

using llamacli::failure;
using llamacli::json;

namespace {

using steady = std::chrono::steady_clock;

double since(steady::time_point start) {
    return std::chrono::duration<double>(steady::now() - start).count();
}

int64_t number_of(const json & request, const char * key, int64_t least, int64_t most) {
    const int64_t value = llamacli::has(request, key) ? request.at(key).get<int64_t>() : 0;
    if (value < least || value > most) {
        throw failure("usage", std::string(key) + " is out of range");
    }
    return value;
}

// --- reading ------------------------------------------------------------------------------------------------------------------

constexpr int64_t MAX_THREADS = 1024;

uint64_t sum(const uint64_t * data, size_t count) {
    uint64_t lanes[16] = {}; // enough to fill the vector registers of any machine
    for (size_t i = 0; i + 16 <= count; i += 16) {
        for (size_t lane = 0; lane < 16; ++lane) {
            lanes[lane] += data[i + lane];
        }
    }
    uint64_t total = 0;
    for (const uint64_t lane : lanes) {
        total += lane;
    }
    return total;
}

// Reader threads that spin until a common start, as ggml's threads do.
class readers {
  public:
    readers(size_t threads, size_t count) : part(count / threads) {
        for (size_t i = 0; i < threads; ++i) {
            parts.emplace_back(new uint64_t[part]);
        }
        left = threads;
        try {
            for (auto & memory : parts) {
                workers.emplace_back([this, data = memory.get()] { work(data); });
            }
        } catch (...) {
            stop();
            throw failure("memory", "cannot start the threads");
        }
        wait();
    }
    ~readers() { stop(); }
    double pass() {
        const auto start = steady::now();
        left             = workers.size();
        ++round;
        wait();
        return since(start);
    }
    size_t   bytes() const { return part * sizeof(uint64_t) * workers.size(); }
    uint64_t checksum() const { return total; }

  private:
    void work(uint64_t * data) {
        for (size_t i = 0; i < part; ++i) { // by the reading thread, so that the memory is on its NUMA node
            data[i] = i;
        }
        for (size_t seen = 0;; ++seen) {
            --left;
            while (round == seen) {
                std::this_thread::yield();
            }
            if (finished) {
                return;
            }
            total += sum(data, part);
        }
    }
    void wait() const {
        while (left > 0) {
            std::this_thread::yield();
        }
    }
    void stop() {
        finished = true;
        ++round;
        for (auto & worker : workers) {
            worker.join();
        }
    }

    const size_t                             part;
    std::vector<std::unique_ptr<uint64_t[]>> parts;
    std::vector<std::thread>                 workers;
    std::atomic<size_t>                      left{ 0 };
    std::atomic<size_t>                      round{ 0 };
    std::atomic<bool>                        finished{ false };
    std::atomic<uint64_t>                    total{ 0 };
};

json measure_reading(const json & request, const llamacli_abort * abort) {
    const auto   threads = (size_t) number_of(request, "threads", 1, MAX_THREADS);
    const auto   bytes   = (size_t) number_of(request, "bytes", 4096, INT64_MAX);
    const double seconds = request.at("seconds").get<double>();
    readers      pool(threads, std::max<size_t>(bytes / sizeof(uint64_t), 16 * threads));
    json         passes = json::array();
    pool.pass();
    for (const auto start = steady::now(); !llamacli_abort_get(abort) && (passes.empty() || since(start) < seconds);) {
        passes.push_back(pool.pass());
    }
    return { { "seconds", passes }, { "bytes", pool.bytes() }, { "checksum", pool.checksum() } };
}

// --- products -----------------------------------------------------------------------------------------------------------------

struct kind { // of matrices
    ggml_type type;
    int64_t   columns, rows, count, experts, used;
};

ggml_type type_named(const std::string & name) {
    for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
        const auto * known = ggml_type_name((ggml_type) i);
        if (known && ggml_blck_size((ggml_type) i) > 0 && name == known) {
            return (ggml_type) i;
        }
    }
    throw failure("usage", "unknown tensor type " + name);
}

kind parse_kind(const json & item) {
    constexpr int64_t most = int64_t(1) << 31;
    kind              k{ type_named(llamacli::text_of(item, "type")),
            number_of(item, "columns", 1, most),
            number_of(item, "rows", 1, most),
            number_of(item, "count", 1, 4096),
            number_of(item, "experts", 0, 4096),
            number_of(item, "used", 0, 4096) };
    if (k.columns % ggml_blck_size(k.type) != 0 || k.used > k.experts || (k.experts > 0) != (k.used > 0)) {
        throw failure("usage", "a matrix of this shape cannot be of type " + llamacli::text_of(item, "type"));
    }
    return k;
}

// A few rows of small numbers in a type. A matrix repeats them: quantizing a whole one takes far longer than multiplying it.
std::vector<uint8_t> sample_rows(ggml_type type, int64_t columns, int64_t rows) {
    std::vector<float>                    numbers(columns * rows);
    std::minstd_rand                      random(1);
    std::uniform_real_distribution<float> spread(-1.0f, 1.0f);
    for (auto & number : numbers) {
        number = spread(random);
    }
    std::vector<uint8_t>     data(ggml_row_size(type, columns) * rows);
    const std::vector<float> importance(columns, 1.0f);
    if (type == GGML_TYPE_F32) {
        memcpy(data.data(), numbers.data(), data.size());
    } else if (ggml_get_type_traits(type)->from_float_ref || ggml_is_quantized(type) || type == GGML_TYPE_F16 ||
               type == GGML_TYPE_BF16) {
        ggml_quantize_chunk(type, numbers.data(), data.data(), 0, rows, columns, importance.data());
    } else {
        throw failure("usage", std::string("cannot quantize to ") + ggml_type_name(type));
    }
    return data;
}

constexpr int64_t SAMPLE_ROWS = 8;

} // namespace

struct llamacli_products {
    ggml_backend_ptr                     backend;
    ggml_context_ptr                     context;
    std::vector<ggml_backend_buffer_ptr> buffers;
    ggml_cgraph *                        graph      = nullptr;
    llamacli_kernels                     kernels    = LLAMACLI_KERNELS_UPSTREAM;
    double                               bytes      = 0;
    double                               operations = 0;
    json                                 places     = json::object();

    ggml_backend_dev_t device() const { return ggml_backend_get_device(backend.get()); }
};

namespace {

ggml_tensor * multiply(ggml_context * ctx, const kind & k, ggml_tensor * weights, int64_t tokens) {
    if (k.experts == 0) {
        return ggml_mul_mat(ctx, weights, ggml_new_tensor_2d(ctx, GGML_TYPE_F32, k.columns, tokens));
    }
    auto * activations = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, k.columns, 1, tokens);
    return ggml_mul_mat_id(ctx, weights, activations, ggml_new_tensor_2d(ctx, GGML_TYPE_I32, k.used, tokens));
}

ggml_tensor * new_weights(ggml_context * ctx, const kind & k) {
    return k.experts ? ggml_new_tensor_3d(ctx, k.type, k.columns, k.rows, k.experts) :
                       ggml_new_tensor_2d(ctx, k.type, k.columns, k.rows);
}

// The first of the device's buffer types in which it can multiply such weights. Repacking types come first, as when llama.cpp
// loads a model, unless our kernels were chosen, for which models are loaded without repacking.
ggml_backend_buffer_type_t weights_buffer_type(ggml_backend_dev_t device, const kind & k, llamacli_kernels kernels) {
    std::vector<ggml_backend_buffer_type_t> candidates;
    const auto                              get_extra = (ggml_backend_dev_get_extra_bufts_t) ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts");
    const bool repacks = kernels == LLAMACLI_KERNELS_UPSTREAM || !llamacli_kernels_need_no_repacking();
    for (auto * extra = get_extra && repacks ? get_extra(device) : nullptr; extra && *extra; ++extra) {
        candidates.push_back(*extra);
    }
    candidates.push_back(ggml_backend_dev_buffer_type(device));
    for (auto * type : candidates) {
        const ggml_context_ptr ctx(ggml_init({ 8 * ggml_tensor_overhead(), nullptr, true }));
        auto *                 weights = new_weights(ctx.get(), k);
        // Only the type of the buffer matters, so it can be empty.
        const ggml_backend_buffer_ptr empty(ggml_backend_buft_alloc_buffer(type, 0));
        weights->buffer = empty.get();
        if (ggml_backend_dev_supports_op(device, multiply(ctx.get(), k, weights, 512))) {
            return type;
        }
    }
    throw failure("model", std::string(ggml_backend_dev_name(device)) + " cannot multiply " + ggml_type_name(k.type));
}

// Allocates all tensors in a buffer type, one after the other, or all at the same address if `shared`.
void place(llamacli_products & p, ggml_backend_buffer_type_t type, const std::vector<ggml_tensor *> & tensors, bool shared) {
    const size_t alignment = ggml_backend_buft_get_alignment(type);
    size_t       total     = 0;
    const auto   padded    = [&](ggml_tensor * t) { return GGML_PAD(ggml_backend_buft_get_alloc_size(type, t), alignment); };
    for (auto * tensor : tensors) {
        total = shared ? std::max(total, padded(tensor)) : total + padded(tensor);
    }
    p.buffers.emplace_back(ggml_backend_buft_alloc_buffer(type, total + alignment));
    auto * buffer = p.buffers.back().get();
    if (!buffer) {
        throw std::bad_alloc();
    }
    auto * start   = (char *) ggml_backend_buffer_get_base(buffer);
    auto * address = start + (GGML_PAD((uintptr_t) start, alignment) - (uintptr_t) start);
    for (auto * tensor : tensors) {
        if (ggml_backend_tensor_alloc(buffer, tensor, address) != GGML_STATUS_SUCCESS) {
            throw std::bad_alloc();
        }
        address += shared ? 0 : padded(tensor);
    }
}

void fill_weights(ggml_tensor * weights) {
    const auto           rows = std::min<int64_t>(SAMPLE_ROWS, ggml_nrows(weights));
    const auto           some = sample_rows(weights->type, weights->ne[0], rows);
    std::vector<uint8_t> data(ggml_nbytes(weights));
    for (size_t at = 0; at < data.size(); at += some.size()) {
        memcpy(data.data() + at, some.data(), std::min(some.size(), data.size() - at));
    }
    ggml_backend_tensor_set(weights, data.data(), 0, data.size());
}

void fill_activations(ggml_tensor * node, const kind & k) {
    auto *     activations = node->src[1];
    const auto data        = sample_rows(GGML_TYPE_F32, activations->ne[0], ggml_nrows(activations));
    ggml_backend_tensor_set(activations, data.data(), 0, data.size());
    if (auto * ids = node->src[2]) {
        std::vector<int32_t> chosen(ggml_nelements(ids)); // distinct for a token, equally frequent overall
        for (size_t i = 0; i < chosen.size(); ++i) {
            chosen[i] = (int32_t) (i % k.experts);
        }
        ggml_backend_tensor_set(ids, chosen.data(), 0, chosen.size() * sizeof(int32_t));
    }
}

void create_products(const json & request, llamacli_products & p) {
    const auto name   = llamacli::text_of(request, "device");
    auto *     device = ggml_backend_dev_by_name(name.c_str());
    if (!device) {
        throw failure("usage", "unknown device " + name);
    }
    const auto        tokens = number_of(request, "tokens", 1, 1 << 16);
    const auto        repeat = llamacli::has(request, "repeat") ? number_of(request, "repeat", 1, 1 << 16) : 1;
    std::vector<kind> kinds;
    size_t            nodes = 0;
    for (const auto & item : request.at("products")) {
        kinds.push_back(parse_kind(item));
        nodes += kinds.back().count * repeat;
    }
    if (kinds.empty() || nodes > (1 << 16)) {
        throw failure("usage", "too few or too many products");
    }
    p.kernels = (llamacli_kernels) number_of(request, "kernels", LLAMACLI_KERNELS_UPSTREAM, LLAMACLI_KERNELS_BEST);
    p.backend.reset(ggml_backend_dev_init(device, nullptr));
    p.context.reset(ggml_init({ (4 * nodes + 16) * ggml_tensor_overhead() + ggml_graph_overhead_custom(4 * nodes, false), nullptr, true }));
    if (!p.backend || !p.context) {
        throw failure("memory", "the device " + name + " cannot be used");
    }
    auto * ctx = p.context.get();
    p.graph    = ggml_new_graph_custom(ctx, 4 * nodes, false); // including the leaves
    std::map<ggml_backend_buffer_type_t, std::vector<ggml_tensor *>> weights;
    std::vector<ggml_tensor *>                                       inputs, outputs;
    std::vector<std::pair<ggml_tensor *, kind>>                      first; // product of each kind, whose inputs the others share
    for (const auto & k : kinds) {
        auto * const type  = weights_buffer_type(device, k, p.kernels);
        ggml_tensor * made = nullptr;
        for (int64_t i = 0; i < k.count; ++i) {
            auto * matrix = new_weights(ctx, k);
            weights[type].push_back(matrix);
            for (int64_t again = 0; again < repeat; ++again) {
                auto * product = made ? (k.experts ? ggml_mul_mat_id(ctx, matrix, made->src[1], made->src[2]) :
                                                     ggml_mul_mat(ctx, matrix, made->src[1])) :
                                        multiply(ctx, k, matrix, tokens);
                if (!made) {
                    made = product;
                    first.emplace_back(product, k);
                    inputs.push_back(product->src[1]);
                    if (product->src[2]) {
                        inputs.push_back(product->src[2]);
                    }
                }
                outputs.push_back(product);
                ggml_build_forward_expand(p.graph, product);
            }
        }
        const double share = k.experts ? std::min<double>(k.experts, (double) k.used * tokens) : 1.0; // experts that are read
        p.bytes += repeat * k.count * share * ggml_row_size(k.type, k.columns) * k.rows;
        p.operations += 2.0 * repeat * k.count * (k.experts ? k.used : 1) * k.columns * k.rows * tokens;
        p.places[ggml_type_name(k.type)] = ggml_backend_buft_name(type);
    }
    for (const auto & [type, tensors] : weights) {
        place(p, type, tensors, false);
        ggml_backend_buffer_set_usage(p.buffers.back().get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        for (auto * tensor : tensors) {
            fill_weights(tensor);
        }
    }
    place(p, ggml_backend_dev_buffer_type(device), inputs, false);
    place(p, ggml_backend_dev_buffer_type(device), outputs, true); // they are never read
    for (const auto & [product, k] : first) {
        fill_activations(product, k);
    }
}

void set_up(llamacli_products & p, int threads, llamacli_abort * abort) {
    auto *     reg         = ggml_backend_dev_backend_reg(p.device());
    const auto set_threads = (ggml_backend_set_n_threads_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads");
    const auto set_abort =
        (ggml_backend_set_abort_callback_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_abort_callback");
    if (set_threads) {
        set_threads(p.backend.get(), threads);
    }
    if (set_abort) {
        set_abort(p.backend.get(), llamacli_abort_callback, abort);
    }
}

json run_products(llamacli_products & p, const json & request, llamacli_abort * abort) {
    set_up(p, (int) number_of(request, "threads", 1, MAX_THREADS), abort);
    const double seconds = request.at("seconds").get<double>();
    json         passes  = json::array();
    llamacli_choose_kernels(p.kernels); // of this thread, which may be another one for each answer
    const auto   compute = [&] {
        const auto start  = steady::now();
        const auto status = ggml_backend_graph_compute(p.backend.get(), p.graph);
        if (status != GGML_STATUS_SUCCESS && status != GGML_STATUS_ABORTED) {
            throw failure(status == GGML_STATUS_ALLOC_FAILED ? "memory" : "internal", "the device could not multiply");
        }
        return since(start);
    };
    compute();
    for (const auto start = steady::now(); !llamacli_abort_get(abort) && (passes.empty() || since(start) < seconds);) {
        const double took = compute();
        if (!llamacli_abort_get(abort)) {
            passes.push_back(took);
        }
    }
    return { { "seconds", passes } };
}

} // namespace

extern "C" {

char * llamacli_measure_reading(const char * request, const llamacli_abort * abort) {
    return llamacli::answer("internal", [&] { return measure_reading(llamacli::parse_request(request), abort); });
}

char * llamacli_products_create(const char * request, llamacli_products ** products) {
    return llamacli::answer("internal", [&] {
        auto made = std::make_unique<llamacli_products>();
        create_products(llamacli::parse_request(request), *made);
        json result = { { "bytes", made->bytes }, { "operations", made->operations }, { "buffers", made->places } };
        *products   = made.release();
        return result;
    });
}

void llamacli_products_free(llamacli_products * products) {
    llamacli::release(products);
}

char * llamacli_products_run(llamacli_products * products, const char * request, llamacli_abort * abort) {
    return llamacli::answer("internal", [&] { return run_products(*products, llamacli::parse_request(request), abort); });
}

} // extern "C"
