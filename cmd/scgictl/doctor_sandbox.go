package main

import (
	"context"
	"regexp"
	"slices"
	"time"
)

// Symptoms are what the log says where the sandbox of the units has forbidden
// something, with the line that gives it back; scgid(8) has them, too.
var symptoms = []struct {
	form *regexp.Regexp
	line string
}{
	{regexp.MustCompile(`Read-only file system`), "ReadWritePaths= with the directory"},
	{regexp.MustCompile(`no new privileges|effective uid is not 0|effective user ID is not 0|postdrop: .*(Permission denied|Operation not permitted)`), "the lines of examples/sendmail.conf"},
	{regexp.MustCompile(`Address family not supported`), "RestrictAddressFamilies= with the family"},
	{regexp.MustCompile(`create (a )?new namespace|unshare(\(\)| failed)`), "RestrictNamespaces=no"},
	{regexp.MustCompile(`/dev/[A-Za-z0-9/]+['"]?: No such file or directory`), "PrivateDevices=no and DeviceAllow= with the device"},
	{regexp.MustCompile(`(mprotect|mmap|JIT).*(Permission denied|Operation not permitted)`), "MemoryDenyWriteExecute=no"},
	{regexp.MustCompile(`Operation not permitted|Errno 1\b`), "SystemCallFilter= with the system call"},
}

// symptomLines is how much of the log is looked at.
const symptomLines = "200"

// A symptom is a line of the log, and what in the unit it is a symptom of.
type symptom struct{ text, line string }

// symptomOf says what a line of the log is a symptom of; empty is nothing.
func symptomOf(text string) (line string) {
	i := slices.IndexFunc(symptoms, func(s struct {
		form *regexp.Regexp
		line string
	}) bool {
		return s.form.MatchString(text)
	})
	if i < 0 {
		return ""
	}
	return symptoms[i].line
}

// readSymptoms looks for them in the last lines of the pool, each once. What the
// master and systemd write is about something else.
func (d *doctor) readSymptoms(ctx context.Context) {
	u := d.service()
	if u == nil || u.active != "active" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	j := journal{pool: d.name, own: d.own}
	j.uid = d.uidOf(ctx, j, nil)
	args := append([]string{"-n", symptomLines, "--since", "-1h"}, matches(j.all(j.workers(ctx)))...)
	_ = entries(ctx, args, func(e entry) error {
		line := symptomOf(e.text)
		known := slices.ContainsFunc(d.symptoms, func(s symptom) bool { return s.line == line })
		if line != "" && !known && e.who != "systemd" && e.who != "scgid" {
			d.symptoms = append(d.symptoms, symptom{bounded(e.text, 300), line})
		}
		return nil
	})
}

// checkSandbox tells what the sandbox may have forbidden within the hour. It is a
// guess: a file may be somebody else's, or a disk be mounted read-only.
func (d *doctor) checkSandbox(context.Context) {
	for _, s := range d.symptoms {
		d.checks = append(d.checks, check{"sandbox", notable, "the log has what an application says when the sandbox forbids something",
			s.line + " below [Service] in " + d.systemctl() + "edit " + unitOf(d.name) + "; see scgid(8), What the sandbox forbids", []string{s.text}})
	}
}
