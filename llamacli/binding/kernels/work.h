// What the operations of the hook share: the work buffer, and how matrices are divided into pieces for the threads.
#pragma once

#include "ggml.h"
#include "ggml-impl.h"

#include <cstddef>
#include <cstdint>

namespace llamacli {

constexpr size_t LINE = 64;         // bytes of a cache line, and of the widest register
constexpr int64_t MOST_TILES = 16;  // of a piece of work: pieces are small enough that threads end together

// Where the work buffer's first line begins.
inline uint8_t * aligned(void * memory) { return reinterpret_cast<uint8_t *>(GGML_PAD(reinterpret_cast<uintptr_t>(memory), LINE)); }

// Four pieces for each thread, if there are so many.
inline int64_t wanted_pieces(int threads) { return threads > 1 ? 4 * threads : 1; }

} // namespace llamacli
