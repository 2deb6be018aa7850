package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A reply that ends before its end is said to: to the master, and to a client on
// TCP, which sees a reset.
func TestAReplyThatIsCutIsSaidToBe(t *testing.T) {
	const begin = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n"
	for name, test := range map[string]struct {
		text string
		cut  bool
	}{
		"killed":                    {begin + "\\npart'\nsleep 3 &\nkill -SEGV $$\n", true},
		"shorter than stated":       {begin + "Content-Length: 9\\n\\npart'\n", true},
		"last chunk missing":        {begin + "Transfer-Encoding: chunked\\n\\n4\\r\\npart\\r\\n'\n", true},
		"whole":                     {begin + "\\npart'\n", false},
		"whole, then a bad status":  {begin + "\\npart'\nexit 3\n", false},
		"whole, then killed":        {begin + "Content-Length: 4\\n\\npart'\nkill -SEGV $$\n", false},
		"no reply":                  {"#!/bin/sh\nkill -SEGV $$\n", false},
		"no header":                 {"#!/bin/sh\necho part\n", false},
		"chunked as it should be":   {begin + "Transfer-Encoding: chunked\\n\\n4\\r\\npart\\r\\n0\\r\\n\\r\\n'\n", false},
		"output closed, then ended": {begin + "\\npart'\nexec >&-\nsleep 0.1\nkill -SEGV $$\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			m := startWorker(t, install(t, t.TempDir(), "p.sh", test.text))
			c, done := m.connect()
			writeRequest(t, c, "")
			_, err := io.ReadAll(c)
			must(t, err)
			if msg := m.await(done); msg.Cut != test.cut {
				t.Errorf("on a Unix socket: cut is %v", msg.Cut)
			}
			tcp, done := m.connectTCP()
			writeRequest(t, tcp, "")
			_, err = io.ReadAll(tcp)
			if msg := m.await(done); msg.Cut != test.cut || errors.Is(err, unix.ECONNRESET) != test.cut {
				t.Errorf("over TCP: cut is %v, the client got %v", msg.Cut, err)
			}
		})
	}
}

// A client that leaves has cut nothing short, and its program states no wrong
// length.
func TestALeavingClientsReplyIsNotCalledCut(t *testing.T) {
	path := install(t, t.TempDir(), "long.sh", fmt.Sprintf(familyText, "printf 'Content-Length: 1000\\n'"))
	m := startWorker(t, path)
	c, done := m.connect()
	pids := family(t, c, "", 0)
	c.Close()
	gone(t, pids...)
	if msg := m.await(done); msg.Cut {
		t.Error("the reply is called cut")
	}
	m.wantLog("request 1: the client left")
	if log := m.endLog(); strings.Contains(log, "Content-Length") {
		t.Errorf("the log says %s", log)
	}
}
