//go:build ignore

/*
 * worker: the least worker that speaks link protocol 1 (scgid-worker(7)),
 * with the same reply as the dispatcher's, so that a pool of it differs from
 * the dispatcher by its master alone. Five system calls a request: recvmsg,
 * recv, send, shutdown, close. It publishes in its page and sends DONE only
 * when it is asked to; with the argument "plain" it does without the page,
 * and sends DONE each time.
 *
 * Usage: worker [plain], with SCGID_WORKER_FD in the environment.
 */
#define _GNU_SOURCE
#include "floor.h"
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

enum { PAGE_SIZE = 4096, SLOTS = 126 };

static int link_fd;
static _Atomic uint64_t *page; /* NULL without one */

/* "Finish what you hold": after this recvmsg gives what is queued, then 0. */
static void on_term(int sig)
{
	int saved = errno;

	(void)sig;
	shutdown(link_fd, SHUT_RD);
	errno = saved;
}

static void open_link(void)
{
	struct sigaction term = { .sa_handler = on_term, .sa_flags = SA_RESTART };
	const char *fd = getenv("SCGID_WORKER_FD");

	if (!fd) {
		fprintf(stderr, "worker: SCGID_WORKER_FD is not set: start it as the command of an scgid pool\n");
		exit(2);
	}
	link_fd = atoi(fd);
	if (fcntl(link_fd, F_SETFD, FD_CLOEXEC) < 0)
		die("worker: SCGID_WORKER_FD");
	sigaction(SIGTERM, &term, NULL);
}

static void open_page(void)
{
	const char *fd = getenv("SCGID_PAGE_FD");
	void *mem;

	if (!fd)
		return;
	mem = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(fd), 0);
	close(atoi(fd));
	if (mem != MAP_FAILED && memcmp(mem, "SCGIDPG1", 8) == 0)
		page = mem;
}

/* The state of the connection that the message is about, NULL without a page. */
static _Atomic uint64_t *state_of(const char *note, size_t n)
{
	const char *slot = page ? memmem(note, n, "\nSLOT=", 6) : NULL;
	size_t digits, at;

	if (!slot)
		return NULL;
	at = number(slot + 6, note + n - slot - 6, &digits);
	return at < SLOTS ? page + 8 + 4 * at : NULL;
}

/* Makes "DONE=<id>" of "CONN=<id>\n..."; returns its length, 0 if it is no CONN. */
static size_t done_of(char *note, size_t n)
{
	size_t digits;

	if (n < 6 || memcmp(note, "CONN=", 5))
		return 0;
	memcpy(note, "DONE=", 5);
	for (digits = 0; 5 + digits < n && note[5 + digits] >= '0' && note[5 + digits] <= '9'; digits++)
		;
	return digits ? 5 + digits : 0;
}

int main(int argc, char **argv)
{
	static const char plain[] = "READY=1", paged[] = "READY=1\nPAGE=1";
	struct msghdr msg;
	struct pass pass;
	char note[512];

	open_link();
	if (argc < 2 || strcmp(argv[1], "plain"))
		open_page();
	if (send(link_fd, page ? paged : plain, page ? sizeof paged - 1 : sizeof plain - 1, MSG_NOSIGNAL) < 0)
		die("worker: cannot say that it is ready");
	for (;;) {
		pass_init(&msg, &pass, note, sizeof note);
		ssize_t n = recvmsg(link_fd, &msg, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die("worker: recvmsg");
		if (n == 0)
			return 0;
		int fd = pass_fd(&msg);
		_Atomic uint64_t *state = state_of(note, n);
		size_t done = done_of(note, n), digits;
		if (fd < 0 || done == 0) {
			fprintf(stderr, "worker: a packet that is no CONN with one descriptor\n");
			return 1;
		}
		uint64_t id = number(note + 5, done - 5, &digits) & ((1ull << 48) - 1);
		if (state)
			*state = id | 1ull << 60;
		answer(fd);
		if (state) {
			state[1] = sizeof reply - 1;
			state[2] = 0;
			*state = id | 200ull << 48 | 3ull << 60;
		}
		shutdown(fd, SHUT_RDWR);
		close(fd);
		if (state && !page[1])
			continue;
		if (send(link_fd, note, done, MSG_NOSIGNAL) < 0)
			return errno == EPIPE ? 0 : 1;
	}
}
