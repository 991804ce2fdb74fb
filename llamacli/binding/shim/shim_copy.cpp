// A copy of the process: see shim_copy.h.
#include "shim_copy.h"

#ifdef _WIN32

namespace llamacli {

std::string in_copy(const limits &, const std::function<std::string()> & body) {
    return body();
}

} // namespace llamacli

#else

#    include <fcntl.h>
#    include <sys/resource.h>
#    include <sys/time.h>
#    include <sys/wait.h>
#    include <unistd.h>

#    include <cerrno>
#    include <csignal>
#    include <cstdio>
#    include <cstdlib>
#    include <cstring>
#    include <exception>
#    include <mutex>

namespace llamacli {

namespace {

enum exit_status { OUT_OF_TIME = 91, OUT_OF_MEMORY = 92 };

constexpr int      TICK = 10000;    // microseconds of processor time between two looks at the limits
constexpr unsigned WAIT = 20;       // seconds at most, in case the copy waits for a lock of a thread that it does not have
constexpr char     WHOLE = '\n';    // the end of a text, which has no line ends: it is JSON

double limit_seconds = 0; // of this copy
long   limit_memory  = 0; // in the unit of ru_maxrss

std::mutex starting; // or a copy would hold the pipe of another one open

double seconds_of(const timeval & time) {
    return double(time.tv_sec) + double(time.tv_usec) / 1e6;
}

void look_at_limits(int) {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    if (seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime) > limit_seconds) {
        _exit(OUT_OF_TIME);
    }
    if (usage.ru_maxrss > limit_memory) {
        _exit(OUT_OF_MEMORY);
    }
}

void set_limits(const limits & limits) {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
#    ifdef __APPLE__
    constexpr size_t unit = 1;
#    else
    constexpr size_t unit = 1024;
#    endif
    limit_seconds = limits.seconds;
    limit_memory  = usage.ru_maxrss + long(limits.bytes / unit);
    signal(SIGPROF, look_at_limits);
    signal(SIGALRM, SIG_DFL);
    sigset_t own;
    sigemptyset(&own);
    sigaddset(&own, SIGPROF);
    sigaddset(&own, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &own, nullptr);
    const itimerval tick{ { 0, TICK }, { 0, TICK } };
    setitimer(ITIMER_PROF, &tick, nullptr);
    alarm(WAIT);
}

// Leaves the terminal, the signals' handlers and the core file to the original.
void become_copy(const limits & limits) {
    const rlimit no_core{ 0, 0 };
    setrlimit(RLIMIT_CORE, &no_core);
    const int null = open("/dev/null", O_RDWR);
    for (int stream = 0; stream < 3; ++stream) {
        dup2(null, stream);
    }
    for (int fault : { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT }) {
        signal(fault, SIG_DFL);
    }
    std::set_terminate(std::abort);
    set_limits(limits);
}

void write_all(int pipe, const std::string & text) {
    for (size_t done = 0; done < text.size();) {
        const ssize_t n = write(pipe, text.data() + done, text.size() - done);
        if (n < 0 && errno != EINTR) {
            return;
        }
        done += n > 0 ? size_t(n) : 0;
    }
}

std::string read_all(int pipe) {
    std::string text;
    char        block[1 << 16];
    while (text.empty() || text.back() != WHOLE) {
        const ssize_t n = read(pipe, block, sizeof(block));
        if (n > 0) {
            text.append(block, size_t(n));
        } else if (n == 0 || errno != EINTR) {
            break;
        }
    }
    return text;
}

struct copy {
    pid_t process;
    int   pipe; // its text
};

// Starts a copy, in which all signals are blocked: those of the terminal are the original's.
copy start(const limits & limits, const std::function<std::string()> & body) {
    std::lock_guard<std::mutex> lock(starting);
    int                         ends[2];
    if (pipe(ends) != 0) {
        throw failure("memory", std::string("no process for the chat template: ") + std::strerror(errno));
    }
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t process = fork();
    const int   error   = errno;
    if (process == 0) {
        become_copy(limits);
        write_all(ends[1], body() + WHOLE);
        _exit(0);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    close(ends[1]);
    if (process < 0) {
        close(ends[0]);
        throw failure("memory", std::string("no process for the chat template: ") + std::strerror(error));
    }
    return { process, ends[0] };
}

// How a copy ended. Somebody else may have waited for it: then nothing is known.
std::string end_of(pid_t process, const limits & limits) {
    int status = 0;
    while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    char text[100];
    if (WIFEXITED(status) && WEXITSTATUS(status) == OUT_OF_TIME) {
        std::snprintf(text, sizeof(text), "takes more than %g s of processor time", limits.seconds);
    } else if (WIFEXITED(status) && WEXITSTATUS(status) == OUT_OF_MEMORY) {
        std::snprintf(text, sizeof(text), "takes more than %zu MiB of memory", limits.bytes >> 20);
    } else if (WIFSIGNALED(status)) {
        std::snprintf(text, sizeof(text), "crashes its interpreter (%s)", strsignal(WTERMSIG(status)));
    } else {
        std::snprintf(text, sizeof(text), "crashes its interpreter");
    }
    return std::string("the chat template ") + text;
}

} // namespace

std::string in_copy(const limits & limits, const std::function<std::string()> & body) {
    const copy  made = start(limits, body);
    std::string text = read_all(made.pipe);
    close(made.pipe);
    const std::string end = end_of(made.process, limits);
    if (text.empty() || text.back() != WHOLE) {
        throw failure("template", end);
    }
    text.pop_back();
    return text;
}

} // namespace llamacli

#endif
