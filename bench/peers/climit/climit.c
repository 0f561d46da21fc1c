/* The physical limit: the least server that can answer. It waits with epoll, reads, counts the empty lines that end
 * request heads, and writes that many copies of one fixed response. It reads no method, path or body, has no timeouts
 * and one thread: whatever a real server costs more than this is what it does more than this.
 *
 *     climit PORT        serves 127.0.0.1:PORT until it is killed
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FDS_MAX = 65536, BATCH_MAX = 64, READ_BYTES = 65536 };

static const char terminator[] = "\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nServer: climit\r\nContent-Type: text/plain\r\n"
                               "Content-Length: 13\r\n\r\nHello, World!";
static char batch[BATCH_MAX * (sizeof response - 1)];
static unsigned char matched[FDS_MAX]; /* bytes of the terminator seen at the end of the last read, per descriptor */
static int poller;

static void die(const char *what) { perror(what); exit(1); }

static void accept_all(int listener) {
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) return;
		if (fd >= FDS_MAX) { close(fd); continue; }
		int one = 1;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		matched[fd] = 0;
		struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
		if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &ev) < 0) close(fd);
	}
}

/* count tells how many heads end in the n bytes at p, and how far into a terminator they leave off. memchr skips what
 * cannot start one. */
static int count(const char *p, size_t n, unsigned char *state) {
	const char *end = p + n;
	int heads = 0;
	unsigned char s = *state;
	while (p < end) {
		if (s == 0) {
			p = memchr(p, '\r', (size_t)(end - p));
			if (p == NULL) break;
		}
		if (*p == terminator[s]) {
			p++;
			if (++s == 4) { heads++; s = 0; }
		} else {
			s = 0; /* the byte is looked at again: it may be the next '\r' */
			if (*p != '\r') p++;
		}
	}
	*state = s;
	return heads;
}

/* answer writes n responses. A client that does not read them loses its connection: there is no output queue. */
static int answer(int fd, int n) {
	while (n > 0) {
		int now = n < BATCH_MAX ? n : BATCH_MAX;
		size_t bytes = (size_t)now * (sizeof response - 1);
		if (send(fd, batch, bytes, MSG_NOSIGNAL) != (ssize_t)bytes) return -1;
		n -= now;
	}
	return 0;
}

static void serve(int fd) {
	static char buf[READ_BYTES];
	ssize_t n = recv(fd, buf, sizeof buf, 0);
	if (n < 0 && errno == EAGAIN) return;
	if (n <= 0 || answer(fd, count(buf, (size_t)n, &matched[fd])) < 0) close(fd);
}

int main(int argc, char **argv) {
	if (argc != 2) { fprintf(stderr, "usage: climit PORT\n"); return 2; }
	for (int i = 0; i < BATCH_MAX; i++) memcpy(batch + (size_t)i * (sizeof response - 1), response, sizeof response - 1);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
	if (listener < 0) die("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&addr, sizeof addr) < 0) die("bind");
	if (listen(listener, 4096) < 0) die("listen");
	poller = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = listener}, events[512];
	if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &ev) < 0) die("epoll");
	for (;;) {
		int n = epoll_wait(poller, events, 512, -1);
		if (n < 0 && errno != EINTR) die("epoll_wait");
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == listener) accept_all(listener);
			else serve(events[i].data.fd);
		}
	}
}
