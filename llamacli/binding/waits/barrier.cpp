// The barrier between the operations of a graph, in the place of GNU OpenMP's, whose waiting threads spin for a fixed time.
//
// On a quiet machine the others arrive within microseconds, and a thread that slept would come too late. On a crowded one a
// thread that is waited for may have no processor, and one that sleeps at once both leaves it its own and gets it back first,
// because schedulers prefer who has slept. So threads spin for long until that is in vain once, and then hardly for a while.
//
// The linker puts these functions in the place of OpenMP's in ggml's CPU backend (waits.cmake), whose tree stays as it is.
#include "waits.h"

#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <omp.h>

extern "C" {
void __real_GOMP_parallel(void (*function)(void *), void * data, unsigned threads, unsigned flags);
void __real_GOMP_barrier(void);
void __wrap_GOMP_parallel(void (*function)(void *), void * data, unsigned threads, unsigned flags);
void __wrap_GOMP_barrier(void);
}

namespace {

constexpr int64_t LONG_NS = 400000;        // of spinning on a quiet machine, more than a thread comes late there
constexpr int SHORT = 30;                  // looks at the others on a crowded one
constexpr int LOOKS = 32;                  // between two looks at the clock
constexpr int64_t LEAST_NS = 2000000;      // that a machine counts as crowded: half a slice of a scheduler's time
constexpr int64_t MOST_NS = 64 * LEAST_NS; // if it was found crowded again and again

int64_t now_ns() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * int64_t{1000000000} + time.tv_nsec;
}

void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

// Whether the machine is crowded, for all teams of the process.
class crowd {
  public:
    bool is_here() const { return now_ns() < until.load(std::memory_order_relaxed); }

    // A thread did not come in time. Soon after the last such time, the machine counts as crowded for twice as long.
    void found() {
        const int64_t now = now_ns(), last = until.load(std::memory_order_relaxed), length = span.load(std::memory_order_relaxed);
        const int64_t next = now - last < 4 * length ? length * 2 : LEAST_NS;
        span.store(next < MOST_NS ? next : MOST_NS, std::memory_order_relaxed);
        until.store(now + (next < MOST_NS ? next : MOST_NS), std::memory_order_relaxed);
    }

  private:
    std::atomic<int64_t> until{0};
    std::atomic<int64_t> span{LEAST_NS};
};

crowd the_crowd;

// The threads of one parallel region.
class team {
  public:
    team(void (*function)(void *), void * data) : function(function), data(data), spins(!the_crowd.is_here()) {}

    void run(int threads) {
        size.store(threads, std::memory_order_relaxed); // each thread before its first barrier: they all store the same
        function(data);
    }

    void wait() {
        const uint32_t turn = turns.load(std::memory_order_relaxed);
        if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size.load(std::memory_order_relaxed)) {
            arrived.store(0, std::memory_order_relaxed);
            turns.store(turn + 1, std::memory_order_seq_cst);
            if (sleepers.load(std::memory_order_seq_cst) > 0) {
                syscall(SYS_futex, &turns, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
            }
        } else if (!comes_soon(turn)) {
            sleepers.fetch_add(1, std::memory_order_seq_cst);
            while (turns.load(std::memory_order_seq_cst) == turn) {
                syscall(SYS_futex, &turns, FUTEX_WAIT_PRIVATE, turn, nullptr, nullptr, 0);
            }
            sleepers.fetch_sub(1, std::memory_order_relaxed);
        }
    }

  private:
    bool looks(uint32_t turn, int count) const {
        for (int i = 0; i < count; i++) {
            if (turns.load(std::memory_order_acquire) != turn) {
                return true;
            }
            relax();
        }
        return false;
    }

    // Spin until the others have arrived, and return false if that takes too long.
    bool comes_soon(uint32_t turn) {
        if (!spins.load(std::memory_order_relaxed)) {
            return looks(turn, SHORT);
        }
        if (looks(turn, LOOKS)) {
            return true;
        }
        for (const int64_t end = now_ns() + LONG_NS; now_ns() < end;) {
            if (looks(turn, LOOKS)) {
                return true;
            }
        }
        spins.store(false, std::memory_order_relaxed);
        the_crowd.found();
        return false;
    }

    void (*const function)(void *);
    void * const data;
    alignas(64) std::atomic<int> arrived{0};
    alignas(64) std::atomic<uint32_t> turns{0};
    alignas(64) std::atomic<int> sleepers{0};
    std::atomic<int> size{0};
    std::atomic<bool> spins;
};

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "a futex is a plain number");

thread_local team * current = nullptr;

void run(void * data) {
    team * const outer = current;
    current = static_cast<team *>(data);
    current->run(omp_get_num_threads());
    current = outer;
}

} // namespace

void __wrap_GOMP_parallel(void (*function)(void *), void * data, unsigned threads, unsigned flags) {
    if (!llamacli_follows_load()) {
        __real_GOMP_parallel(function, data, threads, flags);
        return;
    }
    team one(function, data);
    __real_GOMP_parallel(run, &one, threads, flags);
}

void __wrap_GOMP_barrier(void) {
    if (current) {
        current->wait();
    } else {
        __real_GOMP_barrier();
    }
}
