/* Preloaded into a process, makes its disk one that needs 5 ms more for every sync (SLOW_SYNC_US: another time). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_for_the_disk(void) {
    const char *us = getenv("SLOW_SYNC_US");
    usleep(us ? (useconds_t)atoi(us) : 5000);
}

int fsync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_for_the_disk();
    return next(fd);
}

int fdatasync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_for_the_disk();
    return next(fd);
}

int syncfs(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "syncfs");
    wait_for_the_disk();
    return next(fd);
}
