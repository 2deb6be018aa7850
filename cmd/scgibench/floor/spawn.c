//go:build ignore

/*
 * spawn: the least that a CGI program can cost: posix_spawn(3) with a pipe as
 * its standard output, read to its end, then waitpid(2). One at a time, again
 * and again until the time is over; the program must write something each time
 * and exit with 0.
 *
 * Usage: spawn MILLISECONDS PROGRAM [ARG...]
 * Prints how many times it has run, and the microseconds that passed.
 */
#define _GNU_SOURCE
#include "floor.h"
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>

static char *env[] = {
	"GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=GET", "QUERY_STRING=", "PATH_INFO=/",
	"SCRIPT_NAME=", "SERVER_NAME=www.example.org", "SERVER_PORT=80", "SERVER_PROTOCOL=HTTP/1.1",
	"REMOTE_ADDR=192.0.2.17", "HTTP_HOST=www.example.org", "PATH=/usr/bin:/bin", NULL,
};

static long now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void run_once(char **argv, posix_spawn_file_actions_t *actions, int out[2])
{
	char buf[65536];
	ssize_t n, total = 0;
	int status;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		die("pipe2");
	posix_spawn_file_actions_init(actions);
	posix_spawn_file_actions_adddup2(actions, out[1], 1);
	errno = posix_spawn(&pid, argv[0], actions, NULL, argv, env);
	if (errno != 0)
		die(argv[0]);
	posix_spawn_file_actions_destroy(actions);
	close(out[1]);
	while ((n = read(out[0], buf, sizeof buf)) > 0)
		total += n;
	close(out[0]);
	if (waitpid(pid, &status, 0) < 0 || status != 0 || total == 0)
		die("the program failed");
}

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t actions;
	long begin = now_us(), end, n = 0;
	int out[2];

	if (argc < 3 || atol(argv[1]) < 1) {
		fprintf(stderr, "usage: spawn MILLISECONDS PROGRAM [ARG...]\n");
		return 2;
	}
	end = begin + atol(argv[1]) * 1000;
	do {
		run_once(argv + 2, &actions, out);
		n++;
	} while (now_us() < end);
	printf("%ld %ld\n", n, now_us() - begin);
	return 0;
}
