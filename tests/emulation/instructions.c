/* A plugin for QEMU's user emulation that counts instructions, without QEMU's header, which Debian does not ship.
 *
 * Each process keeps its count in a file of its own, which it maps: no death of a process loses it. The first argument,
 * folder=PATH, names the folder of these files.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct qemu_plugin_tb;
int qemu_plugin_version = API; /* 1 up to QEMU 8.2; 2 is accepted by all later ones so far */
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

static char folder[3000];
static uint64_t *count;

static void begin(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%d-XXXXXX", folder, (int)getpid());
    int file = mkostemp(path, O_CLOEXEC);
    if (file < 0 || ftruncate(file, sizeof *count) ||
        (count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)) == MAP_FAILED) {
        perror(path);
        _exit(1);
    }
    close(file);
}

static void executed(unsigned cpu, void *instructions) {
    __atomic_fetch_add(count, (uint64_t)(uintptr_t)instructions, __ATOMIC_RELAXED); /* threads share it */
}

static void translated(uint64_t id, struct qemu_plugin_tb *block) {
    qemu_plugin_register_vcpu_tb_exec_cb(block, executed, 0, (void *)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

int qemu_plugin_install(uint64_t id, const void *info, int count_of_arguments, char **arguments) {
    if (count_of_arguments != 1)
        return 1;
    snprintf(folder, sizeof folder, "%s", arguments[0] + sizeof "folder=" - 1);
    begin();
    pthread_atfork(NULL, NULL, begin);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
