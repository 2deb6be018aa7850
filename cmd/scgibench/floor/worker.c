//go:build ignore

/*
 * worker: the least worker that speaks link protocol 1 (scgid-worker(7)),
 * with the same reply as the dispatcher's, so that a pool of it differs from
 * the dispatcher by its master alone. Six system calls a request: recvmsg,
 * recv, send, shutdown, close, send.
 *
 * Usage: worker, with SCGID_WORKER_FD in the environment.
 */
#define _GNU_SOURCE
#include "floor.h"
#include <fcntl.h>
#include <signal.h>

static int link_fd;

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

int main(void)
{
	struct msghdr msg;
	struct pass pass;
	char note[512];

	open_link();
	if (send(link_fd, "READY=1", 7, MSG_NOSIGNAL) < 0)
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
		size_t done = done_of(note, n);
		if (fd < 0 || done == 0) {
			fprintf(stderr, "worker: a packet that is no CONN with one descriptor\n");
			return 1;
		}
		answer(fd);
		shutdown(fd, SHUT_RDWR);
		close(fd);
		if (send(link_fd, note, done, MSG_NOSIGNAL) < 0)
			return errno == EPIPE ? 0 : 1;
	}
}
