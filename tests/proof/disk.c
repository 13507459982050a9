/*
 * Stands between a program and its disk, to tell what a power cut would have left of a database.
 *
 * Loaded with LD_PRELOAD (glibc, Linux). Watches the files `library.db`, `library.db-wal` and
 * `library.db-journal`, the folders that are synced, and what is sent on TCP sockets; `-shm` is
 * memory and left alone. A call and its record are made under one lock, so that the order of the
 * log is the order of what happened. Only the calls are here that SQLite and Rust's standard
 * library make; the programs compare the replayed log with the files, and would miss any other.
 *
 *   OBJLIB_DISK_LOG=path         append one record an event (struct record, then its bytes)
 *   OBJLIB_DISK_KILL=n           SIGKILL instead of event n, which does not take effect
 *   OBJLIB_DISK_FAIL=n:ENOSPC    the n-th write, truncation or sync fails, and all later ones;
 *                  n:EIO:once    with `:once` only that one
 *   OBJLIB_CLOCK=path            seconds in this file, if it is there, are added to the wall clock
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* tests/proof/disk.rs reads them. */
enum kind { OPEN = 1, CREATE, WRITE, TRUNCATE, SYNC, SYNC_FOLDER, UNLINK, SEND, FAILED };

struct record {
    uint32_t kind;
    uint32_t file;   /* a number for each file that was ever created; of a send: the socket */
    uint64_t number; /* of the event, from 1 */
    uint64_t offset; /* of a write; the name's index of open, create and unlink; a length */
    uint64_t length; /* bytes that follow */
};

enum { FILES_MAX = 1024, HEAD_MAX = 4096, NAMES_N = 3 };
static const char *const NAMES[NAMES_N] = {"library.db", "library.db-wal", "library.db-journal"};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int file_of_fd[FILES_MAX];   /* 0: not one of ours */
static int file_of_name[NAMES_N];   /* 0: not seen yet, or unlinked */
static int files;                   /* numbers given so far */
static uint64_t events, disk_calls; /* so far */
static uint64_t kill_at, fail_at;
static int fail_errno, fail_once, log_fd = -1;
static const char *clock_path;

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int), (*real_fsync)(int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_ftruncate)(int, off64_t);
static int (*real_unlink)(const char *);
static ssize_t (*real_send)(int, const void *, size_t, int);
static int (*real_clock)(clockid_t, struct timespec *);

static void set_up(void) {
#define FIND(name, symbol) *(void **)&real_##name = dlsym(RTLD_NEXT, symbol)
    FIND(open, "open64"), FIND(close, "close"), FIND(unlink, "unlink");
    FIND(pwrite, "pwrite64"), FIND(ftruncate, "ftruncate64");
    FIND(fsync, "fsync"), FIND(send, "send"), FIND(clock, "clock_gettime");
    const char *text;
    if ((text = getenv("OBJLIB_DISK_KILL"))) kill_at = strtoull(text, NULL, 10);
    if ((text = getenv("OBJLIB_DISK_FAIL"))) {
        fail_at = strtoull(text, NULL, 10);
        fail_errno = strstr(text, "ENOSPC") ? ENOSPC : EIO;
        fail_once = strstr(text, ":once") != NULL;
    }
    clock_path = getenv("OBJLIB_CLOCK");
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    if ((text = getenv("OBJLIB_DISK_LOG"))) log_fd = real_open(text, flags, 0600);
}

static void ready(void) { pthread_once(&once, set_up); }
/* Index in NAMES, or -1. */
static int name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    for (int i = 0; i < NAMES_N; i++)
        if (strcmp(slash ? slash + 1 : path, NAMES[i]) == 0) return i;
    return -1;
}

/* Everything from here to `opened` is called with the lock held. */

static int file_of(int fd) { return fd >= 0 && fd < FILES_MAX ? file_of_fd[fd] : 0; }

static void log_bytes(const void *bytes, size_t length) {
    const char *at = bytes;
    while (log_fd >= 0 && length > 0) {
        ssize_t n = write(log_fd, at, length);
        if (n <= 0) abort();
        at += n;
        length -= (size_t)n;
    }
}

static void record(enum kind kind, int file, uint64_t offset, const void *bytes, size_t length) {
    int before = errno;
    struct record r = {kind, (uint32_t)file, events, offset, length};
    log_bytes(&r, sizeof r);
    log_bytes(bytes, length);
    errno = before;
}

/* An event begins; it may be the last thing that does not happen. */
static void event(void) {
    if (++events == kill_at) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
}

/* The same for a call that a full or broken disk refuses. */
static int refused(int file) {
    event();
    disk_calls++;
    if (fail_at == 0 || disk_calls < fail_at || (fail_once && disk_calls > fail_at)) return 0;
    record(FAILED, file, 0, NULL, 0);
    errno = fail_errno;
    return 1;
}

static int opened(const char *path, int flags, mode_t mode) {
    ready();
    int name = name_of(path);
    if (name < 0) return real_open(path, flags, mode);
    pthread_mutex_lock(&lock);
    int is_there = access(path, F_OK) == 0;
    if (!is_there && (flags & O_CREAT)) event();
    int fd = real_open(path, flags, mode);
    if (fd >= 0 && fd < FILES_MAX) {
        int known = is_there && file_of_name[name] != 0;
        if (!known) file_of_name[name] = ++files;
        file_of_fd[fd] = file_of_name[name];
        if (!known) record(is_there ? OPEN : CREATE, file_of_fd[fd], (uint64_t)name, NULL, 0);
        if (flags & O_TRUNC) record(TRUNCATE, file_of_fd[fd], 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

/* An argument that was not given is garbage that the kernel ignores. */
#define WITH_MODE(path, flags)               \
    va_list more;                            \
    va_start(more, flags);                   \
    mode_t mode = (mode_t)va_arg(more, int); \
    va_end(more);                            \
    return opened(path, flags, mode)

int open(const char *path, int flags, ...) { WITH_MODE(path, flags); }
int open64(const char *path, int flags, ...) { WITH_MODE(path, flags); }

int close(int fd) {
    ready();
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < FILES_MAX) file_of_fd[fd] = 0;
    int done = real_close(fd);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at) {
    ready();
    pthread_mutex_lock(&lock);
    int file = file_of(fd);
    ssize_t done = file && refused(file) ? -1 : real_pwrite(fd, bytes, n, at);
    if (file && done > 0) record(WRITE, file, (uint64_t)at, bytes, (size_t)done);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate64(int fd, off64_t length) {
    ready();
    pthread_mutex_lock(&lock);
    int file = file_of(fd);
    int done = file && refused(file) ? -1 : real_ftruncate(fd, length);
    if (file && done == 0) record(TRUNCATE, file, (uint64_t)length, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) {
    ready();
    struct stat about;
    pthread_mutex_lock(&lock);
    int file = file_of(fd);
    int folder = !file && fstat(fd, &about) == 0 && S_ISDIR(about.st_mode);
    int done = (file || folder) && refused(file) ? -1 : real_fsync(fd);
    if (done == 0 && (file || folder)) record(file ? SYNC : SYNC_FOLDER, file, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) {
    ready();
    int name = name_of(path);
    if (name < 0) return real_unlink(path);
    pthread_mutex_lock(&lock);
    event();
    int done = real_unlink(path);
    if (done == 0) {
        record(UNLINK, file_of_name[name], (uint64_t)name, NULL, 0);
        file_of_name[name] = 0;
    }
    pthread_mutex_unlock(&lock);
    return done;
}

static int is_tcp(int fd) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    return getsockname(fd, (struct sockaddr *)&name, &length) == 0 && (name.ss_family == AF_INET || name.ss_family == AF_INET6);
}

/* Noted before it is sent: what the service may know is what counts. */
ssize_t send(int fd, const void *bytes, size_t n, int flags) {
    ready();
    if (is_tcp(fd)) {
        pthread_mutex_lock(&lock);
        event();
        record(SEND, fd, 0, bytes, n < HEAD_MAX ? n : HEAD_MAX);
        pthread_mutex_unlock(&lock);
    }
    return real_send(fd, bytes, n, flags);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    ready();
    int done = real_clock(id, now);
    if (done == 0 && id == CLOCK_REALTIME && clock_path) {
        char text[32] = "";
        int before = errno; /* The file may not be there. */
        int fd = (int)syscall(SYS_openat, AT_FDCWD, clock_path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            if (syscall(SYS_read, fd, text, sizeof text - 1) > 0) now->tv_sec += atoll(text);
            syscall(SYS_close, fd);
        }
        errno = before;
    }
    return done;
}
