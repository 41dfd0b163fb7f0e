/* A V4L2 device that is none: for a process that loads this before libc (LD_PRELOAD).

   /dev/video70 and up, and nothing else, are answered here, in place of the kernel: what OpenCV's
   V4L2 backend does with a device it does with these. The file V4L2_DEVICES/<number> says, at each
   opening: width height fps frames fault. Frame n has n % 256 in every byte, as BGR24.

   fault: 0 none; 1 it is gone behind so many frames; 2 it falls silent behind them; 3 busy;
   4 opening it never ends; 5 a rate that nobody knows. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define FIRST 70
#define DEVICES 16
#define BUFFERS 8

struct device {
    int fd, width, height, fps, frames, fault, count, waiting, queue[BUFFERS];
    unsigned char *memory[BUFFERS];
};
static struct device devices[DEVICES];

static struct device *by_fd(int fd) {
    for (int i = 0; fd > 0 && i < DEVICES; i++)
        if (devices[i].fd == fd) return &devices[i];
    return NULL;
}

static size_t size_of(struct device *d) { return (size_t)d->width * d->height * 3; }

static void tick(struct device *d, int on) {
    long ns = on ? 1000000000L / (d->fps ? d->fps : 20) : 0;
    struct itimerspec every = {{ns / 1000000000L, ns % 1000000000L}, {ns / 1000000000L, ns % 1000000000L}};
    timerfd_settime(d->fd, 0, &every, NULL);
}

static int open_fake(int number) {
    char path[4096];
    struct device *d = &devices[(number - FIRST) % DEVICES];
    snprintf(path, sizeof path, "%s/%d", getenv("V4L2_DEVICES"), number);
    FILE *file = fopen(path, "r");
    if (!file) { errno = ENOENT; return -1; }
    memset(d, 0, sizeof *d);
    int read = fscanf(file, "%d %d %d %d %d", &d->width, &d->height, &d->fps, &d->frames, &d->fault);
    fclose(file);
    while (read == 5 && d->fault == 4) sleep(1);
    d->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return d->fd;
}

static int fake_number(const char *path) {
    int number;
    if (!getenv("V4L2_DEVICES") || sscanf(path, "/dev/video%d", &number) != 1) return 0;
    return number >= FIRST && number < FIRST + DEVICES ? number : 0;
}

#define OPEN(name)                                                        \
    int name(const char *path, int flags, ...) {                          \
        static int (*real)(const char *, int, ...);                       \
        va_list more;                                                     \
        va_start(more, flags);                                            \
        int mode = va_arg(more, int);                                     \
        va_end(more);                                                     \
        if (fake_number(path)) return open_fake(fake_number(path));       \
        if (!real) real = dlsym(RTLD_NEXT, #name);                        \
        return real(path, flags, mode);                                   \
    }
OPEN(open)
OPEN(open64)

static int refuse(int why) { errno = why; return -1; }

static void format_of(struct device *d, struct v4l2_format *f) {
    f->fmt.pix.width = d->width;
    f->fmt.pix.height = d->height;
    f->fmt.pix.pixelformat = V4L2_PIX_FMT_BGR24;
    f->fmt.pix.bytesperline = d->width * 3;
    f->fmt.pix.sizeimage = size_of(d);
    f->fmt.pix.field = V4L2_FIELD_NONE;
}

static int dequeue(struct device *d, struct v4l2_buffer *b) {
    unsigned long long ticks;
    if (d->fault == 1 && d->count >= d->frames) return refuse(ENODEV);
    if (!d->waiting || read(d->fd, &ticks, sizeof ticks) < 0) return refuse(EAGAIN);
    b->index = d->queue[0];
    memmove(d->queue, d->queue + 1, sizeof(int) * --d->waiting);
    memset(d->memory[b->index], d->count++ % 256, size_of(d));
    b->bytesused = b->length = size_of(d);
    b->flags = 0;
    if (d->fault == 2 && d->count >= d->frames) tick(d, 0);
    return 0;
}

static int answer(struct device *d, unsigned long request, void *argument) {
    struct v4l2_buffer *b = argument;
    switch ((unsigned)request) {
    case VIDIOC_QUERYCAP: {
        struct v4l2_capability *c = argument;
        memset(c, 0, sizeof *c);
        strcpy((char *)c->driver, "none");
        strcpy((char *)c->card, "a device that is none");
        c->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        c->capabilities = c->device_caps | V4L2_CAP_DEVICE_CAPS;
        return 0;
    }
    case VIDIOC_G_INPUT: *(int *)argument = 0; return 0;
    case VIDIOC_S_INPUT: return 0;
    case VIDIOC_G_FMT:
    case VIDIOC_TRY_FMT: format_of(d, argument); return 0;
    case VIDIOC_S_FMT:
        if (d->fault == 3) return refuse(EBUSY);
        format_of(d, argument);
        return 0;
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
        struct v4l2_streamparm *p = argument;
        p->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
        p->parm.capture.timeperframe.numerator = d->fault == 5 ? 0 : 1;
        p->parm.capture.timeperframe.denominator = d->fault == 5 ? 0 : d->fps;
        return 0;
    }
    case VIDIOC_REQBUFS: {
        struct v4l2_requestbuffers *r = argument;
        if (r->memory != V4L2_MEMORY_MMAP) return refuse(EINVAL);
        if (r->count > BUFFERS) r->count = BUFFERS;
        return 0;
    }
    case VIDIOC_QUERYBUF:
        if (b->index >= BUFFERS) return refuse(EINVAL);
        b->length = size_of(d);
        b->m.offset = b->index * ((size_of(d) + 4095) & ~4095UL);
        return 0;
    case VIDIOC_QBUF:
        if (d->waiting >= BUFFERS) return refuse(EINVAL);
        d->queue[d->waiting++] = b->index;
        return 0;
    case VIDIOC_DQBUF: return dequeue(d, b);
    case VIDIOC_STREAMON: tick(d, 1); return 0;
    case VIDIOC_STREAMOFF: tick(d, 0); d->waiting = 0; return 0;
    default: return refuse(EINVAL);
    }
}

int ioctl(int fd, unsigned long request, ...) {
    static int (*real)(int, unsigned long, ...);
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    struct device *d = by_fd(fd);
    if (d) return answer(d, request, argument);
    if (!real) real = dlsym(RTLD_NEXT, "ioctl");
    return real(fd, request, argument);
}

#define MMAP(name)                                                                          \
    void *name(void *at, size_t size, int prot, int flags, int fd, off_t offset) {          \
        static void *(*real)(void *, size_t, int, int, int, off_t);                         \
        if (!real) real = dlsym(RTLD_NEXT, #name);                                          \
        struct device *d = by_fd(fd);                                                       \
        if (!d) return real(at, size, prot, flags, fd, offset);                             \
        void *memory = real(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); \
        d->memory[offset / ((size_of(d) + 4095) & ~4095UL)] = memory;                       \
        return memory;                                                                      \
    }
MMAP(mmap)
MMAP(mmap64)

int close(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "close");
    struct device *d = by_fd(fd);
    if (d) d->fd = 0;
    return real(fd);
}
