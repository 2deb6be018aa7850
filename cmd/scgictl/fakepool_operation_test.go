package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// Operations of the fake pool. One at a time; each does one step, then waits
// for a file if the script wants it.
type operations struct {
	reason string        // they fail for it
	notes  string        // they succeed with these, separated by |
	hold   string        // they wait for this file
	next   string        // flags of the program that an upgrade executes
	late   time.Duration // that this program is absent
	mute   bool          // they are not shown
	turn   chan struct{}
	marks  string // with a kind behind it, the file to make for each order
}

// flags are those of operations.
func (o *operations) flags(f *flag.FlagSet) {
	f.StringVar(&o.reason, "reason", "", "operations fail for this reason; \\n begins a line")
	f.StringVar(&o.notes, "notes", "", "of operations that succeed, separated by |")
	f.StringVar(&o.hold, "hold", "", "operations wait until there is this file")
	f.StringVar(&o.next, "next", "", "flags of the program that an upgrade executes, separated by blanks; none has it answer")
	f.BoolVar(&o.mute, "mute", false, "do not show operations")
	f.DurationVar(&o.late, "late", 0, "answer only after this time")
	o.turn = make(chan struct{}, 1)
}

// operate runs an operation; the end of a call is not its end.
func (p *memPool) operate(ctx context.Context, kind string) (control.Operation, error) {
	ended := make(chan control.Operation, 1)
	if err := os.WriteFile(p.ops.marks+kind, nil, 0o666); err != nil {
		return control.Operation{}, err
	}
	go func() {
		p.ops.turn <- struct{}{}
		defer func() { <-p.ops.turn }()
		ended <- p.perform(kind)
	}()
	select {
	case o := <-ended:
		if o.State == control.OpFailed {
			return o, control.Errorf(control.CodeFailed, "%s", o.Error)
		}
		return o, nil
	case <-ctx.Done():
		return control.Operation{}, ctx.Err()
	}
}

func (p *memPool) perform(kind string) control.Operation {
	p.Lock()
	o := control.Operation{ID: 1, Kind: kind, State: control.OpRunning, Began: time.Now(), Generation: p.St.Generation}
	if last := p.St.Operation; last != nil {
		o.ID = last.ID + 1
	}
	p.showOperation(o)
	o.Step = fmt.Sprintf("starting worker 9 of generation %d", p.St.Generation+1)
	p.showOperation(o)
	p.Unlock()
	for p.ops.hold != "" {
		if _, err := os.Stat(p.ops.hold); err == nil {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	p.Lock()
	defer p.Unlock()
	o.State, o.Step, o.Ended = control.OpDone, "", o.Began.Add(4200*time.Millisecond)
	switch {
	case p.ops.reason != "":
		o.State, o.Error = control.OpFailed, strings.ReplaceAll(p.ops.reason, `\n`, "\n")
	case kind != control.OpUpgrade:
		p.St.Generation++
		o.Done, o.Total = len(p.All), len(p.All)
	}
	if p.ops.notes != "" {
		o.Notes = strings.Split(p.ops.notes, "|")
	}
	o.Generation = p.St.Generation
	if kind == control.OpUpgrade && o.State == control.OpDone && p.ops.next != "" {
		p.execute(o)
	}
	p.showOperation(o)
	return o
}

// execute has this process begin again with other flags, as the master does.
func (p *memPool) execute(o control.Operation) {
	told, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	args := append(append(os.Args, "-operation", string(told)), strings.Fields(p.ops.next)...)
	panic(unix.Exec("/proc/self/exe", args, os.Environ()))
}

// showOperation is for a holder of mu.
func (p *memPool) showOperation(o control.Operation) {
	if p.ops.mute {
		return
	}
	p.Show(o)
}

func (p *memPool) Reload(ctx context.Context) (control.Operation, error) {
	return p.operate(ctx, control.OpReload)
}

func (p *memPool) Rollback(ctx context.Context) (control.Operation, error) {
	return p.operate(ctx, control.OpRollback)
}

func (p *memPool) Upgrade(ctx context.Context) (control.Operation, error) {
	return p.operate(ctx, control.OpUpgrade)
}

// statusFlags are fields of the status that scripts set.
func statusFlags(f *flag.FlagSet, st *control.Status) {
	f.StringVar(&st.Version, "scgid", "1.2.3", "version of scgid")
	f.StringVar(&st.Build, "build", "b1", "build of scgid")
	f.IntVar(&st.PID, "pid", 4711, "of the master")
	f.Func("operation", "the last `OPERATION`, as JSON", func(text string) error { return json.Unmarshal([]byte(text), &st.Operation) })
	f.Func("failed", "a reload failed 3 minutes ago for this `REASON`", func(reason string) error {
		ended := time.Now().Add(-3*time.Minute - 20*time.Second)
		st.Operation = &control.Operation{ID: 1, Kind: control.OpReload, State: control.OpFailed, Generation: 1,
			Began: ended.Add(-time.Second), Ended: ended, Error: strings.ReplaceAll(reason, `\n`, "\n")}
		return nil
	})
}
