/* Preloaded into a server: its wall clock is REDIS_LOCK_CLOCK_S seconds off, its monotonic clock is right. Or as many seconds as
 * the file REDIS_LOCK_CLOCK_FILE says, in its first eight bytes, at that moment: so it can be set while the server runs.
 *
 * With REDIS_LOCK_SLEEP_FILE the machine has slept for as many seconds as the first eight bytes of that file say: the wall clock
 * and CLOCK_BOOTTIME are ahead by them, CLOCK_MONOTONIC is not, as after a suspension of the whole machine.
 *
 * Why not libfaketime? It asks for memory while it looks up the real functions, and jemalloc, with which servers are built,
 * asks for the time while it begins: both wait for one another for ever. This one makes system calls. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef const volatile int64_t *_Atomic seconds_in_file;

static const volatile int64_t *shared(const char *variable, seconds_in_file *known) {
    if (*known) return *known;
    const char *path = getenv(variable);
    if (!path) return 0;
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    /* Two threads at once would map it twice, which harms nobody. */
    void *page = mmap(0, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    if (page == MAP_FAILED) return 0;
    return *known = page;
}

static time_t offset(void) {
    static seconds_in_file known;
    const volatile int64_t *seconds = shared("REDIS_LOCK_CLOCK_FILE", &known);
    if (seconds) return (time_t)*seconds;
    const char *text = getenv("REDIS_LOCK_CLOCK_S");
    return text ? atoll(text) : 0;
}

static time_t slept(void) {
    static seconds_in_file known;
    const volatile int64_t *seconds = shared("REDIS_LOCK_SLEEP_FILE", &known);
    return seconds ? (time_t)*seconds : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int status = (int)syscall(SYS_clock_gettime, clock, now);
    if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset() + slept();
    if (status == 0 && clock == CLOCK_BOOTTIME) now->tv_sec += slept();
    return status;
}

int gettimeofday(struct timeval *now, void *zone) {
    (void)zone;
    struct timespec exact;
    int status = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return status;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
