// Importance matrices: see shim_imatrix.h. Sums, their order and their counts are those of llama-imatrix (tools/imatrix), so that
// files of both can be compared and combined.
#include "shim_imatrix.h"

#include "ggml-backend.h"

#include <cmath>
#include <cstring>
#include <exception>
#include <iterator>
#include <map>
#include <new>
#include <string>
#include <vector>

namespace {

struct entry {
    std::vector<float>   sums;
    std::vector<int64_t> counts;
};

constexpr int64_t SHORTEST_BATCH = 16; // products with fewer tokens are left out, as llama-imatrix does

// The name of a weight: the scheduler calls its copy on another device "DEVICE#name#number".
std::string weight_name(const char * name) {
    const char * begin = std::strchr(name, '#');
    if (begin == nullptr) {
        return name;
    }
    const char * end = std::strchr(++begin, '#');
    return end == nullptr ? std::string(begin) : std::string(begin, end);
}

bool is_finite(const std::vector<float> & values) {
    for (const float value : values) {
        if (!std::isfinite(value)) {
            return false;
        }
    }
    return true;
}

void add_squares(float * sums, const float * values, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
        sums[i] += values[i] * values[i];
    }
}

} // namespace

struct llamacli_imatrix {
    bool                         with_output;
    std::map<std::string, entry> entries;
    std::string                  error;
    std::vector<char>            inputs; // copies from a device
    std::vector<char>            experts;

    bool wants(const ggml_tensor * product) const {
        if (product->op == GGML_OP_MUL_MAT_ID) {
            return true;
        }
        if (product->op != GGML_OP_MUL_MAT) {
            return false;
        }
        const ggml_tensor * input = product->src[1];
        if (input->ne[1] < SHORTEST_BATCH || input->type != GGML_TYPE_F32) {
            return false;
        }
        const std::string name = weight_name(product->src[0]->name);
        return name.compare(0, 4, "blk.") == 0 || (with_output && name == "output.weight");
    }

    bool collect(const ggml_tensor * product) {
        const ggml_tensor * input = product->src[1];
        const std::string   name  = weight_name(product->src[0]->name);
        if (input->type != GGML_TYPE_F32 || input->nb[0] != sizeof(float)) {
            return fail("the input of " + name + " does not consist of rows of floats");
        }
        const char * data = static_cast<const char *>(input->data);
        if (!ggml_backend_buffer_is_host(input->view_src != nullptr ? input->view_src->buffer : input->buffer)) {
            inputs.resize(ggml_nbytes(input));
            ggml_backend_tensor_get(input, inputs.data(), 0, inputs.size());
            data = inputs.data();
        }
        entry & found = entries[name];
        const bool same = product->op == GGML_OP_MUL_MAT_ID ? add_experts(found, product, data) : add_matrices(found, product, data);
        if (!same) {
            return fail("the sizes of " + name + " differ between evaluations");
        }
        return is_finite(found.sums) || fail("the input of " + name + " has values that are not finite");
    }

private:
    bool fail(const std::string & reason) {
        error = reason;
        return false;
    }

    // Prepares room for the matrices of a tensor. Returns false if there was room of another size.
    static bool prepare(entry & found, size_t n_sums, size_t n_counts) {
        if (found.sums.empty()) {
            found.sums.resize(n_sums);
            found.counts.resize(n_counts);
        }
        return found.sums.size() == n_sums && found.counts.size() == n_counts;
    }

    // A product with one matrix, or with one for each of the upper dimensions.
    static bool add_matrices(entry & found, const ggml_tensor * product, const char * data) {
        const ggml_tensor * weights  = product->src[0];
        const ggml_tensor * input    = product->src[1];
        const int64_t       n_matrix = weights->ne[2] * weights->ne[3];
        if (!prepare(found, static_cast<size_t>(input->ne[0] * n_matrix), 1)) {
            return false;
        }
        for (int64_t i3 = 0; i3 < input->ne[3]; ++i3) {
            for (int64_t i2 = 0; i2 < input->ne[2]; ++i2) {
                const int64_t matrix = (i3 % weights->ne[3]) * weights->ne[2] + (i2 % weights->ne[2]);
                float *       sums   = found.sums.data() + matrix * input->ne[0];
                for (int64_t row = 0; row < input->ne[1]; ++row) {
                    const char * at = data + row * input->nb[1] + i2 * input->nb[2] + i3 * input->nb[3];
                    add_squares(sums, reinterpret_cast<const float *>(at), input->ne[0]);
                }
            }
        }
        found.counts[0] += ggml_nrows(input) / n_matrix;
        return true;
    }

    // A product with the matrices of those experts that each token was sent to.
    bool add_experts(entry & found, const ggml_tensor * product, const char * data) {
        const ggml_tensor * input     = product->src[1];
        const ggml_tensor * ids       = product->src[2];
        const int64_t       n_experts = product->src[0]->ne[2];
        const int64_t       n_row     = input->ne[0];
        if (!prepare(found, static_cast<size_t>(n_row * n_experts), static_cast<size_t>(n_experts))) {
            return false;
        }
        experts.resize(ggml_nbytes(ids));
        ggml_backend_tensor_get(ids, experts.data(), 0, experts.size());
        for (int64_t used = 0; used < ids->ne[0]; ++used) {
            for (int64_t token = 0; token < input->ne[2]; ++token) {
                int32_t expert;
                std::memcpy(&expert, experts.data() + token * ids->nb[1] + used * ids->nb[0], sizeof(expert));
                if (expert < 0 || expert >= n_experts) {
                    return false;
                }
                const char * at = data + (used % input->ne[1]) * input->nb[1] + token * input->nb[2];
                add_squares(found.sums.data() + expert * n_row, reinterpret_cast<const float *>(at), n_row);
                found.counts[static_cast<size_t>(expert)]++;
            }
        }
        return true;
    }
};

namespace {

const std::pair<const std::string, entry> & entry_at(const llamacli_imatrix * imatrix, int32_t index) {
    return *std::next(imatrix->entries.begin(), index);
}

} // namespace

extern "C" {

llamacli_imatrix * llamacli_imatrix_new(bool with_output) {
    auto * imatrix = new (std::nothrow) llamacli_imatrix{};
    if (imatrix != nullptr) {
        imatrix->with_output = with_output;
    }
    return imatrix;
}

void llamacli_imatrix_free(llamacli_imatrix * imatrix) {
    delete imatrix;
}

bool llamacli_imatrix_callback(ggml_tensor * tensor, bool ask, void * imatrix) {
    auto * collector = static_cast<llamacli_imatrix *>(imatrix);
    try {
        return ask ? collector->wants(tensor) : collector->collect(tensor);
    } catch (const std::exception &) {
        try {
            collector->error = "out of memory";
        } catch (const std::exception &) { // even for these words; the evaluation ends all the same
        }
        return false;
    }
}

const char * llamacli_imatrix_error(const llamacli_imatrix * imatrix) {
    return imatrix->error.empty() ? nullptr : imatrix->error.c_str();
}

int32_t llamacli_imatrix_size(const llamacli_imatrix * imatrix) {
    return static_cast<int32_t>(imatrix->entries.size());
}

const char * llamacli_imatrix_name(const llamacli_imatrix * imatrix, int32_t index) {
    return entry_at(imatrix, index).first.c_str();
}

int64_t llamacli_imatrix_n_sums(const llamacli_imatrix * imatrix, int32_t index) {
    return static_cast<int64_t>(entry_at(imatrix, index).second.sums.size());
}

int64_t llamacli_imatrix_n_counts(const llamacli_imatrix * imatrix, int32_t index) {
    return static_cast<int64_t>(entry_at(imatrix, index).second.counts.size());
}

const float * llamacli_imatrix_sums(const llamacli_imatrix * imatrix, int32_t index) {
    return entry_at(imatrix, index).second.sums.data();
}

const int64_t * llamacli_imatrix_counts(const llamacli_imatrix * imatrix, int32_t index) {
    return entry_at(imatrix, index).second.counts.data();
}

} // extern "C"
