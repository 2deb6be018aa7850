//go:build ignore

/*
 * dispatcher: the least that passing connections to processes can cost.
 *
 * One master with one epoll set: the listener, edge-triggered and
 * non-blocking, and one SOCK_SEQPACKET pair for each forked worker. A
 * connection goes to the most recently idle worker (a stack), one at a time.
 * Twelve system calls a request with one client:
 *   master  epoll_wait, accept4, sendmsg, close, accept4 (EAGAIN),
 *           epoll_wait, recv
 *   worker  recvmsg, recv, send, close, send
 *
 * It is a yardstick, not a server: it does not survive a dead worker.
 *
 * Usage: dispatcher /path|@abstract|ipv4:port WORKERS [PROGRAM ARG...]
 * Prints "ready" when it listens. With a PROGRAM the workers execute it, with
 * the number of their end of the pair in FLOOR_LINK_FD, instead of answering
 * themselves. FLOOR_BURN_US makes each of the workers' own answers cost so many
 * microseconds of CPU more, so that a measurement can be proved right.
 */
#define _GNU_SOURCE
#include "floor.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <time.h>

enum { MAX_WORKERS = 1024, EVENTS = 64, LISTENER = -1 };

static int links[MAX_WORKERS];
static int idle[MAX_WORKERS];
static int nidle;
static char **program; /* NULL: the workers answer themselves */
static long burn_us;

static int listen_unix(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	int fd;

	if (n >= sizeof a.sun_path)
		die("the socket path is too long");
	memcpy(a.sun_path, path, n);
	if (path[0] == '@')
		a.sun_path[0] = 0;
	else
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, offsetof(struct sockaddr_un, sun_path) + n) < 0)
		die("bind");
	return fd;
}

static int listen_tcp(const char *host, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	int fd, one = 1;

	if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
		die("the address must be /path, @name or ipv4:port");
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0)
		die("bind");
	return fd;
}

static int open_listener(char *addr)
{
	char *colon = strrchr(addr, ':');
	int fd;

	if (addr[0] == '/' || addr[0] == '@' || !colon) {
		fd = listen_unix(addr);
	} else {
		*colon = 0;
		fd = listen_tcp(addr, colon + 1);
	}
	if (listen(fd, 1024) < 0)
		die("listen");
	return fd;
}

static long cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void burn(void)
{
	long end = cpu_us() + burn_us;

	while (cpu_us() < end)
		;
}

static __attribute__((noreturn)) void run_program(int link)
{
	char number[16];

	snprintf(number, sizeof number, "%d", link);
	setenv("FLOOR_LINK_FD", number, 1);
	fcntl(link, F_SETFD, 0);
	execvp(program[0], program);
	die(program[0]);
}

static void serve_worker(int link)
{
	struct msghdr msg;
	struct pass pass;
	char note[16];

	for (;;) {
		pass_init(&msg, &pass, note, sizeof note);
		ssize_t n = recvmsg(link, &msg, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(0);
		int fd = pass_fd(&msg);
		if (fd < 0)
			die("a packet without a descriptor");
		if (burn_us > 0)
			burn();
		answer(fd);
		close(fd);
		if (send(link, "d", 1, MSG_NOSIGNAL) < 0)
			_exit(0);
	}
}

static void start_worker(int i, int listener)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	switch (fork()) {
	case -1:
		die("fork");
	case 0:
		close(listener);
		close(pair[0]);
		for (int k = 0; k < i; k++)
			close(links[k]);
		if (program)
			run_program(pair[1]);
		serve_worker(pair[1]);
	}
	close(pair[1]);
	links[i] = pair[0];
	idle[nidle++] = i;
}

static void pass_to(int worker, int fd)
{
	struct msghdr msg;
	struct pass pass;
	char note[1] = "c";

	pass_init(&msg, &pass, note, sizeof note);
	pass_put(&msg, fd);
	if (sendmsg(links[worker], &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		die("sendmsg");
}

/* Returns 0 when the listener is empty, 1 when the workers are all busy. */
static int take_connections(int listener)
{
	while (nidle > 0) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && errno == EAGAIN)
			return 0;
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0)
			die("accept4");
		pass_to(idle[--nidle], fd);
		close(fd);
	}
	return 1;
}

static void worker_done(int i)
{
	char byte;

	errno = 0; /* an end of file is not an error */
	if (recv(links[i], &byte, 1, MSG_DONTWAIT) != 1)
		die("a worker is gone");
	idle[nidle++] = i;
}

static void watch(int epoll, int fd, int who, unsigned events)
{
	struct epoll_event e = { .events = events, .data.fd = who };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS];
	int workers = argc >= 3 ? atoi(argv[2]) : 0;
	const char *slower = getenv("FLOOR_BURN_US");
	int ready = 0;

	if (workers < 1 || workers > MAX_WORKERS) {
		fprintf(stderr, "usage: dispatcher /path|@abstract|ipv4:port WORKERS [PROGRAM ARG...]\n");
		return 2;
	}
	program = argc > 3 ? argv + 3 : NULL;
	burn_us = slower ? atol(slower) : 0;
	int listener = open_listener(argv[1]);
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < workers; i++)
		start_worker(i, listener);
	watch(epoll, listener, LISTENER, EPOLLIN | EPOLLET);
	for (int i = 0; i < workers; i++)
		watch(epoll, links[i], i, EPOLLIN);
	printf("ready\n");
	fflush(stdout);

	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int k = 0; k < n; k++) {
			if (events[k].data.fd == LISTENER)
				ready = 1;
			else
				worker_done(events[k].data.fd);
		}
		if (ready)
			ready = take_connections(listener);
	}
}
