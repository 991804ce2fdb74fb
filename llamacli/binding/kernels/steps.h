// A graph as steps: operations that touch nothing of each other are computed together, so that threads wait less often. Results are
// the same to the bit, because each operation computes what it computes alone.
#pragma once

#include "work.h"

#include <cstdint>
#include <deque>
#include <vector>

namespace llamacli {

// The kernels for an operation, which the hook chooses; null: none of ours.
struct chosen_kernels {
    const product_kernel * product;
    const attention_kernel * attention;
};

// How the kernels are chosen: the same key means the same kernels.
struct choice {
    int key;
    chosen_kernels (*kernels_of)(const ggml_tensor * op);
};

class steps {
  public:
    // Whether this is the division of that graph. Equal numbers mean equal graphs at the same addresses.
    bool is_of(const ggml_cgraph & whole, const ggml_cplan & plan, const choice & kernels) const;

    // Divide a graph. Its tensors stay as they are.
    void divide(const ggml_cgraph & whole, const ggml_cplan & plan, const choice & kernels);

    // The graph with a node for each step, as new. The nodes are of this object.
    ggml_cgraph graph_of_steps(const ggml_cgraph & whole);

  private:
    step & empty_step();
    bool begins(ggml_tensor * op, step & next) const;
    void extend(int first, step & next);
    bool joins(int first, int place, step & next) const;
    bool joins_as_product(ggml_tensor * op, step & next) const;
    bool joins_as_plain(const ggml_tensor * op, const step & next) const;
    bool joins_as_tail(int first, int place, step & next) const;
    bool is_independent(int first, int place) const;
    bool is_due(int place) const;
    bool matters(int place) const;

    const ggml_cgraph * graph = nullptr; // while it is divided
    const choice * kernels = nullptr;
    uint64_t uid = 0;
    size_t work_size = 0;
    int threads = 0, key = 0;
    std::vector<size_t> owners; // the number of the step of each node, from 1 on
    std::vector<ggml_tensor *> nodes;
    std::deque<step> all; // a step does not move
    size_t used = 0;
};

} // namespace llamacli
