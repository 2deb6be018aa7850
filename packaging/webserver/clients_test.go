package webserver_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
)

// A client that sends its request in two halves, and one that reads its reply
// late, let others go before them. Behind nginx and lighttpd no worker waits for
// the second: the application has ended before the client reads on.
func checkSlowClient(t *testing.T, s *site) {
	c := s.dial()
	fmt.Fprintf(c, "GET /status/200 HTTP/1.1\r\nHost: wiki.exam")
	s.ok("/pid")
	fmt.Fprintf(c, "ple.org\r\n\r\n")
	s.want(s.readReply(bufio.NewReader(c), "GET"), 200, "status 200\n")

	const size = 20 * mib // more than all sockets on the way hold
	k := s.talk()
	r, err := s.client.Get(s.front.url(fmt.Sprintf("/bytes?size=%d&token=%s", size, k.token)))
	must(t, err)
	defer r.Body.Close()
	s.ok("/pid")
	if s.front.kind != "apache" {
		k.hear("closed")
	}
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil || n != size || hex.EncodeToString(h.Sum(nil)) != sum(blocks(size)) {
		t.Errorf("got %d bytes (%v), or other than what was sent", n, err)
	}
	if s.front.kind == "apache" {
		k.hear("closed")
	}
}

// Clients leave amid an endless download. The application hears of each, and the
// workers are free again: there are more leavers than workers.
func checkLeaver(t *testing.T, s *site) {
	for range 2 * workers {
		k := s.talk()
		r, err := s.client.Get(s.front.url("/bytes?flow=1&size=1099511627776&token=" + k.token))
		must(t, err)
		_, err = io.CopyN(io.Discard, r.Body, mib)
		must(t, err)
		r.Body.Close() // unread: closes the connection
		k.hear("closed")
	}
	s.ok("/pid")
}

// parallel makes n requests at a time and returns what failed. each is called
// with every reply.
func parallel(s *site, n int, path string, each func(*reply)) []error {
	var mu sync.Mutex
	var all sync.WaitGroup
	var failed []error
	one := func() error {
		q, err := http.NewRequest("GET", s.front.url(path), nil)
		if err != nil {
			return err
		}
		q.Close = true // each on a connection of its own
		r, err := s.client.Do(q)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err == nil && r.StatusCode != 200 {
			err = fmt.Errorf("got %d %.200q", r.StatusCode, text)
		}
		if err == nil && each != nil {
			mu.Lock()
			defer mu.Unlock()
			each(&reply{r, string(text)})
		}
		return err
	}
	for range n {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := one(); err != nil {
				mu.Lock()
				failed = append(failed, err)
				mu.Unlock()
			}
		}()
	}
	all.Wait()
	return failed
}

func checkParallel(t *testing.T, s *site) {
	want := sum(blocks(100 * kib))
	wrong := 0
	failed := parallel(s, 200, "/bytes?size=102400", func(r *reply) {
		if sum(r.text) != want {
			wrong++
		}
	})
	if len(failed) > 0 || wrong > 0 {
		t.Errorf("%d of 200 failed, %d were wrong; the first: %v", len(failed), wrong, append(failed, nil)[0])
	}
}
