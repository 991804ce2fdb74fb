// What the operations of the hook share: the work buffer, and how a step of a graph is divided into pieces for the threads.
#pragma once

#include "kernels.h"

#include "ggml.h"
#include "ggml-cpu.h"
#include "ggml-cpu-impl.h"
#include "ggml-impl.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace llamacli {

constexpr size_t LINE = 64;         // bytes of a cache line, and of the widest register
constexpr int64_t MOST_TILES = 16;  // of a piece of work: pieces are small enough that threads end together
constexpr int MOST_OPS = 4;         // of a step
constexpr int MOST_TAILS = 6;

// Where the work buffer's first line begins.
inline uint8_t * aligned(void * memory) { return reinterpret_cast<uint8_t *>(GGML_PAD(reinterpret_cast<uintptr_t>(memory), LINE)); }

// Four pieces for each thread, if there are so many.
inline int64_t wanted_pieces(int threads) { return threads > 1 ? 4 * threads : 1; }

// An operation on each element of a product: whoever computes rows of the product does so with its tails.
struct tail {
    ggml_tensor * op;
    int after; // the number of the product
};

// Operations between which no thread waits for another: none of them touches what another one writes.
struct step {
    ggml_tensor node; // stands for all of them in the graph
    void (*compute)(const ggml_compute_params * params, step & self);
    ggml_tensor * ops[MOST_OPS];
    const product_kernel * kernels[MOST_OPS]; // of products
    int count;
    tail tails[MOST_TAILS];
    int tail_count;
    bool in_rows; // each piece has the same rows of all products, because a tail combines them
    const attention_kernel * attention;
    alignas(LINE) std::atomic<int64_t> taken; // pieces, beyond the first one of each thread
};

// The pieces of a step, which threads take one after another, whoever comes first.
class pieces {
  public:
    pieces(const ggml_compute_params * params, step & of) : taken(of.taken), threads(params->nth), number(params->ith) {}

    int64_t current() const { return number; }
    void take() { number = threads + taken.fetch_add(1, std::memory_order_relaxed); }

  private:
    std::atomic<int64_t> & taken;
    const int64_t threads;
    int64_t number;
};

} // namespace llamacli
