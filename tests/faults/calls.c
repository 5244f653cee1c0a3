/* System calls that change something under one folder, counted, and made to fail where a test says so.

   Loaded before libc (LD_PRELOAD), so that the writes of libraries that never come by Python's `os` are seen too.
   cc -shared -fPIC -O1 -o calls.so calls.c -ldl */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static atomic_long seen;
static long from, until;
static int error; /* 0: a write takes only half of what it is given */

/* From now on calls `first` to `last` - 1 under `where` fail with `number`; they are counted from 0. */
void calls_arm(const char *where, long first, long last, int number) {
    from = first, until = last, error = number;
    atomic_store(&seen, 0);
    snprintf(folder, sizeof folder, "%s", where);
}

long calls_seen(void) { return atomic_load(&seen); }

static int under(const char *path) { return folder[0] && strncmp(path, folder, strlen(folder)) == 0; }

static int under_fd(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return under(path);
}

static int under_at(int fd, const char *path) {
    return path[0] == '/' || fd == AT_FDCWD ? under(path) : under_fd(fd);
}

/* Counts a call; whether it is to fail. */
static int fails(void) {
    long number = atomic_fetch_add(&seen, 1);
    return number >= from && number < until;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define REFUSE(ours) do { if ((ours) && fails() && error) { errno = error; return -1; } } while (0)
#define WRITES (O_WRONLY | O_RDWR | O_CREAT)

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; va_end(rest); \
        REFUSE((flags & WRITES) && under(path)); \
        return REAL(name)(path, flags, mode); \
    }
#define OPENS_AT(name) \
    int name(int fd, const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; va_end(rest); \
        REFUSE((flags & WRITES) && under_at(fd, path)); \
        return REAL(name)(fd, path, flags, mode); \
    }
OPENS(open) OPENS(open64) OPENS_AT(openat) OPENS_AT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
    if (under_fd(fd) && fails()) {
        if (error) { errno = error; return -1; }
        size = size > 1 ? size / 2 : size;
    }
    return REAL(write)(fd, data, size);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    if (under_fd(fd) && fails()) {
        if (error) { errno = error; return -1; }
        size = size > 1 ? size / 2 : size;
    }
    return REAL(pwrite64)(fd, data, size, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) { REFUSE(under_fd(fd)); return REAL(writev)(fd, parts, count); }
int fsync(int fd) { REFUSE(under_fd(fd)); return REAL(fsync)(fd); }
int fdatasync(int fd) { REFUSE(under_fd(fd)); return REAL(fdatasync)(fd); }
int ftruncate64(int fd, off64_t size) { REFUSE(under_fd(fd)); return REAL(ftruncate64)(fd, size); }
int fallocate64(int fd, int mode, off64_t at, off64_t size) { REFUSE(under_fd(fd)); return REAL(fallocate64)(fd, mode, at, size); }
int rename(const char *old, const char *new) { REFUSE(under(old) || under(new)); return REAL(rename)(old, new); }
int renameat(int of, const char *old, int nf, const char *new) {
    REFUSE(under_at(of, old) || under_at(nf, new));
    return REAL(renameat)(of, old, nf, new);
}
int mkdir(const char *path, mode_t mode) { REFUSE(under(path)); return REAL(mkdir)(path, mode); }
int mkdirat(int fd, const char *path, mode_t mode) { REFUSE(under_at(fd, path)); return REAL(mkdirat)(fd, path, mode); }
int rmdir(const char *path) { REFUSE(under(path)); return REAL(rmdir)(path); }
int unlink(const char *path) { REFUSE(under(path)); return REAL(unlink)(path); }
int unlinkat(int fd, const char *path, int flags) { REFUSE(under_at(fd, path)); return REAL(unlinkat)(fd, path, flags); }
