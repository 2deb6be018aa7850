//go:build ignore

/*
 * floor.h: what both yardsticks share: the answer, and how a descriptor
 * travels (unix(7), SCM_RIGHTS).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct pass {
	struct iovec iov;
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
};

static __attribute__((noreturn)) void die(const char *what)
{
	fprintf(stderr, "%s (errno %d: %s)\n", what, errno, strerror(errno));
	_exit(1);
}

static void pass_init(struct msghdr *msg, struct pass *pass, void *note, size_t n)
{
	memset(msg, 0, sizeof *msg);
	pass->iov.iov_base = note;
	pass->iov.iov_len = n;
	msg->msg_iov = &pass->iov;
	msg->msg_iovlen = 1;
	msg->msg_control = pass->control.room;
	msg->msg_controllen = sizeof pass->control.room;
}

static inline void pass_put(struct msghdr *msg, int fd)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
}

static int pass_fd(struct msghdr *msg)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	int fd;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof fd))
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

static const char reply[] =
	"Status: 200 OK\r\n"
	"Content-Type: text/plain\r\n"
	"Content-Length: 20\r\n"
	"\r\n"
	"Hello from the floor";

/* The value of the leading decimal number in p[0..n), its digits in *digits. */
static unsigned long number(const char *p, size_t n, size_t *digits)
{
	unsigned long v = 0;
	size_t i = 0;

	while (i < n && i < 12 && p[i] >= '0' && p[i] <= '9')
		v = v * 10 + (p[i++] - '0');
	*digits = i;
	return v;
}

/*
 * The bytes of the whole request that starts with buf[0..n): netstring, then
 * body. 0 when that is not known yet, -1 when it is no SCGI request.
 */
static long request_size(const char *buf, size_t n)
{
	static const char first[] = "CONTENT_LENGTH";
	size_t digits, ignored;
	unsigned long block = number(buf, n, &digits);

	if (digits == n)
		return n < 12 ? 0 : -1;
	if (digits == 0 || buf[digits] != ':')
		return -1;
	if (n < digits + 2 + block)
		return 0;
	const char *p = buf + digits + 1;
	if (block < sizeof first + 2 || memcmp(p, first, sizeof first) || p[block] != ',')
		return -1;
	return digits + 2 + block + number(p + sizeof first, block - sizeof first, &ignored);
}

/*
 * Reads one request from fd, in one recv when it is small, and sends the
 * reply. A header block over 64 KiB, or a client that ends early, gets none.
 */
static void answer(int fd)
{
	static char buf[65536];
	size_t got = 0;
	long size = 0, total = 0;

	while (size == 0 || total < size) {
		size_t at = size == 0 ? got : 0;
		if (at == sizeof buf)
			return;
		ssize_t n = recv(fd, buf + at, sizeof buf - at, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		got += n;
		total += n;
		if (size == 0)
			size = request_size(buf, got);
		if (size < 0)
			return;
	}
	send(fd, reply, sizeof reply - 1, MSG_NOSIGNAL);
}
