#include "waits.h"

#include <atomic>

static std::atomic<bool> follows{false};

void llamacli_follow_load(bool follow) { follows.store(follow, std::memory_order_relaxed); }

bool llamacli_follows_load(void) { return follows.load(std::memory_order_relaxed); }
