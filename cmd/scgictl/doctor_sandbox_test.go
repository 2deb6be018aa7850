package main

import (
	"os"
	"strings"
	"testing"
)

func TestTheLogsWordsNameTheLineOfTheSandbox(t *testing.T) {
	manual, err := os.ReadFile("../../packaging/man/scgid.8")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(manual), ".Ss What the sandbox forbids\n")
	section, _, _ = strings.Cut(section, "\n.Ss ")
	for text, want := range map[string]string{
		"OSError: [Errno 30] Read-only file system: '/srv/x'":                              "ReadWritePaths=",
		"postdrop: warning: mail_queue_enter: create file maildrop/1.2: Permission denied": "sendmail.conf",
		"sudo: The \"no new privileges\" flag is set, which prevents sudo":                 "sendmail.conf",
		"socket.error: [Errno 97] Address family not supported by protocol":                "RestrictAddressFamilies=",
		"bwrap: No permissions to create new namespace":                                    "RestrictNamespaces=no",
		"ls: cannot access '/dev/ttyUSB0': No such file or directory":                      "PrivateDevices=no",
		"mprotect failed: Operation not permitted":                                         "MemoryDenyWriteExecute=no",
		"PermissionError: [Errno 1] Operation not permitted":                               "SystemCallFilter=",
		"PermissionError: [Errno 13] Permission denied: '/srv/x'":                          "",
		"FileNotFoundError: [Errno 2] No such file or directory: '/srv/dev/x'":             "",
		"a line": "",
	} {
		got := symptomOf(text)
		if !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
		if !strings.Contains(section, want) {
			t.Errorf("scgid(8) does not have %s", want)
		}
	}
}

func TestDoctorTellsWhatTheSandboxForbade(t *testing.T) {
	d := &doctor{name: "wiki", symptoms: []symptom{{"OSError: Read-only file system", "ReadWritePaths= with the directory"}}}
	d.checkSandbox(t.Context())
	if k := d.checks[0]; k.Grade != notable || k.Lines[0] != "OSError: Read-only file system" ||
		!strings.HasPrefix(k.Hint, "ReadWritePaths= with the directory below [Service] in systemctl edit scgid@wiki.service;") {
		t.Errorf("%+v", k)
	}
}
