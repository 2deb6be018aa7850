package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// logFlags are the flags of scgictl log.
type logFlags struct {
	follow  bool
	lines   int
	all     bool // --lines was not given
	worker  uint64
	request uint64
}

func logCommand(c *ctl) *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "log [NAME]",
		Short: "Show what a pool has written to the journal",
		Long: `Show what a pool has written to the journal, in order: its master, its workers
and the programs that these run, and what systemd says of its units. journalctl -u
lacks lines of programs that had ended when journald looked their unit up; this
has them. The pool need not run.

Without systemd a pool writes to the standard error of its scgid: then this says
where that is, and fails.`,
		Example:           "  scgictl log wiki -n 50\n  scgictl log wiki -f --worker 3\n  scgictl log wiki --request 1203",
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.all = !cmd.Flags().Changed("lines")
			for _, name := range []string{"worker", "request"} {
				if flag := cmd.Flags().Lookup(name); flag.Changed && flag.Value.String() == "0" {
					return usage("--"+name+" must be a number from 1", "see scgictl log --help")
				}
			}
			return c.log(cmd.Context(), strings.Join(args, ""), f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "show the last lines, then continue with what is written")
	flags.IntVarP(&f.lines, "lines", "n", 10, "show the last `N` lines only")
	flags.Uint64Var(&f.worker, "worker", 0, "only what the worker `ID` writes, and the master about it")
	flags.Uint64Var(&f.request, "request", 0, "only what is about the request `ID`")
	_ = cmd.RegisterFlagCompletionFunc("worker", func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		t, err := c.target("log", strings.Join(args, ""))
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.completeWorkers(ctx, t), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// log becomes journalctl where that can choose the lines.
func (c *ctl) log(ctx context.Context, name string, f logFlags) error {
	if f.lines < 0 {
		return usage("-n must be a number from 0", "scgictl log -n 50")
	}
	j, t, err := c.journalOf(ctx, name)
	if err != nil {
		return err
	}
	if text := c.elsewhere(ctx, t); text != "" {
		return c.notInJournal(j, text)
	}
	if _, err := exec.LookPath("journalctl"); err != nil {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	var args []string
	if f.follow {
		args = append(args, "-f")
	}
	if f.request != 0 {
		return c.logOfRequest(ctx, j, args, f)
	}
	if !f.all {
		args = append(args, "-n", strconv.Itoa(f.lines))
	}
	if c.json {
		args = append(args, "-o", "json")
	}
	return c.becomeJournalctl(append(args, matches(j.chosen(ctx, t, f))...))
}

// becomeJournalctl executes journalctl, which has the pager, the colours and the
// care for odd characters.
func (c *ctl) becomeJournalctl(args []string) error {
	path, err := exec.LookPath("journalctl")
	if err == nil {
		err = unix.Exec(path, append([]string{"journalctl"}, args...), os.Environ())
	}
	return fmt.Errorf("cannot execute journalctl: %w", err)
}

// workersAhead is how many workers that are still to be started log --follow
// knows by their streams.
const workersAhead = 256

// chosen are the lines that the flags ask for. t may be nil.
func (j journal) chosen(ctx context.Context, t *target, f logFlags) []alternative {
	if f.worker != 0 {
		return append(j.ofWorkers([]uint64{f.worker}),
			j.mine("SCGID_APP="+j.pool, "SCGID_WORKER="+strconv.FormatUint(f.worker, 10)))
	}
	ids := j.workers(ctx)
	if f.follow {
		last := uint64(0)
		if t != nil {
			last = newestWorker(ctx, t)
		}
		for id := last + 1; id <= last+workersAhead; id++ {
			ids = append(ids, id)
		}
	}
	return j.all(ids)
}

// newestWorker is the highest number that a worker has by now; 0 where nobody
// tells.
func newestWorker(ctx context.Context, t *target) (newest uint64) {
	ctx, cancel := soon(ctx)
	defer cancel()
	workers, _ := t.Workers(ctx)
	for _, w := range workers {
		newest = max(newest, w.ID)
	}
	return newest
}

// logOfRequest chooses the lines itself: what a program says of a request has no
// field.
func (c *ctl) logOfRequest(ctx context.Context, j journal, args []string, f logFlags) error {
	id := strconv.FormatUint(f.request, 10)
	if f.follow {
		args = append(args, "-n", "all")
	}
	ids := []uint64{f.worker}
	if f.worker == 0 {
		ids = j.workers(ctx)
	}
	lines := append(j.ofWorkers(ids), j.mine("SCGID_APP="+j.pool, "SCGID_REQUEST="+id))
	var kept []entry
	keep := func(e entry) error {
		switch {
		case !e.of(id):
			return nil
		case f.all || f.follow:
			return c.showEntry(e)
		}
		kept = append(kept, e)
		kept = kept[max(0, len(kept)-f.lines):]
		return nil
	}
	err := entries(ctx, append(args, matches(lines)...), keep)
	for _, e := range kept {
		if err == nil {
			err = c.showEntry(e)
		}
	}
	if ctx.Err() != nil && f.follow {
		return nil // as asked
	}
	return err
}

func (c *ctl) showEntry(e entry) error {
	if c.json {
		c.out.WriteString(harmless(string(e.raw)) + "\n")
	} else {
		c.out.entry(e)
	}
	if err := c.out.Flush(); err != nil {
		return fmt.Errorf("cannot write the output: %v", err)
	}
	return nil
}

// journalOf finds the pool that a command line means. t is nil if it does not
// run.
func (c *ctl) journalOf(ctx context.Context, name string) (j journal, t *target, err error) {
	t, err = c.target("log", name)
	if err != nil && (exitStatus(err) != exitNotRunning || name == "") {
		return j, nil, err
	}
	j.pool = name
	if err != nil {
		_, own, confErr := c.load(name)
		if errors.Is(confErr, fs.ErrNotExist) {
			return j, nil, err
		}
		j.own, t = own, nil
	} else if j.own = t.user; name == "" {
		if j.pool, err = nameOf(ctx, t); err != nil {
			return j, nil, err
		}
	}
	j.uid = c.uidOf(ctx, j, t)
	return j, t, nil
}

// nameOf asks a pool of which only the socket is known.
func nameOf(ctx context.Context, t *target) (string, error) {
	if t.name != "" {
		return t.name, nil
	}
	st, err := statusNow(ctx, t)
	if err == nil && !isName(st.Name) {
		err = control.Errorf(control.CodeFailed, "what answers on %s does not say which pool it is", t.Socket())
	}
	return st.Name, err
}

// uidOf is the user whose lines are the pool's: who runs it, else whom its unit
// names.
func (c *ctl) uidOf(ctx context.Context, j journal, t *target) string {
	if j.own {
		return strconv.Itoa(c.uid)
	}
	if t != nil {
		short, cancel := context.WithTimeout(ctx, completionTime)
		defer cancel()
		if p, err := t.Peer(short); err == nil {
			return strconv.Itoa(int(p.UID))
		}
	}
	out, err := c.askSystemd(ctx, false, "User", unitOf(j.pool))
	if err != nil {
		return ""
	}
	user := strings.TrimPrefix(strings.TrimSpace(out), "User=")
	if user == "" {
		return "0"
	}
	if a, err := findAccount(user); err == nil {
		return strconv.Itoa(int(a.UID))
	}
	return ""
}

// askSystemd reads properties of units, see systemctl(1).
func (c *ctl) askSystemd(ctx context.Context, own bool, properties string, units ...string) (string, error) {
	if !c.underSystemd() {
		return "", errors.New("systemd does not run this machine")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	args := append([]string{"show", "-p", properties}, units...)
	if own {
		args = append([]string{"--user"}, args...)
	}
	out, err := exec.CommandContext(ctx, "systemctl", args...).Output()
	return string(out), err
}

// elsewhere says where a running pool writes if that is not the journal; empty
// where it is, or where that cannot be seen. t may be nil.
func (c *ctl) elsewhere(ctx context.Context, t *target) string {
	if t != nil {
		ctx, cancel := context.WithTimeout(ctx, completionTime)
		defer cancel()
		if p, err := t.Peer(ctx); err == nil {
			if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/2", p.PID)); err == nil && !strings.HasPrefix(to, "socket:") {
				return to
			}
		}
	}
	if !c.underSystemd() {
		return "its standard error"
	}
	return ""
}

// notInJournal is the error for a pool that writes to what /proc calls to.
func (c *ctl) notInJournal(j journal, to string) error {
	e := control.Errorf(control.CodeFailed, "%s does not write to the journal, but to %s", j.pool, to)
	switch {
	case strings.HasPrefix(to, "/dev/null"):
		return e.WithHint("start its scgid with its standard error in a file: scgid serve %s 2>>FILE", j.pool)
	case strings.HasPrefix(to, "/dev/"):
		return e.WithHint("look at that terminal, or start its scgid with its standard error in a file: scgid serve %s 2>>FILE", j.pool)
	case strings.HasPrefix(to, "/"):
		return e.WithHint("tail -f %s", to)
	case strings.HasPrefix(to, "pipe:"):
		return e.WithHint("the program at the other end has it: what its scgid is piped into, or the service manager that started it")
	}
	return e.WithHint("that is where scgid was started: a terminal, a file, or the log of another service manager")
}
