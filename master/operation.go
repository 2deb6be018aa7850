package master

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/scgid/scgid/control"
)

// Operations (reload, rollback, upgrade) run one at a time, each in a goroutine
// of its own that posts its steps to the loop. A second one waits for its turn;
// several of the same kind that wait are one. A caller that goes away ends
// nothing; a stop of the pool does.
type operations struct {
	turn chan struct{} // holds one token: none is running

	mu      sync.Mutex
	waiting map[string]*operation // by kind, not begun yet; guarded by mu
}

func newOperations() *operations {
	o := &operations{turn: make(chan struct{}, 1), waiting: map[string]*operation{}}
	o.turn <- struct{}{}
	return o
}

// An ops drawer has the operation that runs, or the last one.
type ops struct {
	Now      control.Operation // ID 0 is none
	LastID   uint64
	cancel   func()    // nil without one in progress
	handover *handover // to the next program; nil until it is due
}

// An operation is one of them.
type operation struct {
	m    *Master
	kind string
	done chan struct{}

	// Of the operation's goroutine; others read it after done.
	result control.Operation
	err    error

	// ctx ends when the pool is stopped.
	ctx    context.Context
	cancel context.CancelFunc
}

// errStopped ends an operation.
var errStopped = control.Errorf(control.CodeOver, "the pool is stopping")

// operate runs an operation of this kind, or joins one that waits, and returns
// when it has ended. The error of a failed one is its reason.
func (m *Master) operate(ctx context.Context, kind string, run func(*operation) error) (control.Operation, error) {
	op := m.ops.join(m, kind, run)
	select {
	case <-op.done:
		return op.result, op.err
	case <-ctx.Done():
		return control.Operation{}, control.Errorf(control.CodeTimeout, "the %s is still running: %v", kind, ctx.Err())
	}
}

// join returns the operation of this kind that waits for its turn; without one
// it makes one.
func (o *operations) join(m *Master, kind string, run func(*operation) error) *operation {
	o.mu.Lock()
	defer o.mu.Unlock()
	if op := o.waiting[kind]; op != nil {
		return op
	}
	op := &operation{m: m, kind: kind, done: make(chan struct{})}
	op.ctx, op.cancel = context.WithCancel(context.Background())
	o.waiting[kind] = op
	go o.run(op, run)
	return op
}

// run waits for op's turn and runs it.
func (o *operations) run(op *operation, run func(*operation) error) {
	defer close(op.done)
	defer op.cancel()
	select {
	case <-o.turn:
	case <-op.m.done:
		o.begin(op)
		op.err = errStopped
		return
	}
	defer func() { o.turn <- struct{}{} }()
	o.begin(op)
	if op.err = op.start(); op.err != nil {
		return
	}
	err := run(op)
	if err != nil && op.ctx.Err() != nil {
		err = errStopped
	}
	op.end(err)
}

// begin lets later ones of the same kind be others.
func (o *operations) begin(op *operation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.waiting, op.kind)
}

// inLine returns the kinds of operations that wait for their turn, but for
// another upgrade: to execute the program twice is to execute it once.
func (o *operations) inLine() (kinds []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for kind := range o.waiting {
		if kind != control.OpUpgrade {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// start shows op in the loop.
func (op *operation) start() error {
	return do(op.ctx, op.m, func(l *loop) error {
		if l.stage != serving {
			return errStopped
		}
		l.op.LastID++
		op.result = control.Operation{ID: l.op.LastID, Kind: op.kind, State: control.OpRunning, Generation: l.gens.current.Number, Began: time.Now()}
		l.op.Now, l.op.cancel = op.result, op.cancel
		l.log.Info(op.kind + " begins")
		l.tellOperation()
		return nil
	})
}

// step says what op does now. It returns an error when the pool has ended.
func (op *operation) step(change func(*control.Operation)) error {
	return do(op.ctx, op.m, func(l *loop) error {
		change(&l.op.Now)
		l.tellOperation()
		return nil
	})
}

// end shows how op ended.
func (op *operation) end(err error) {
	_ = do(context.Background(), op.m, func(l *loop) error {
		o := &l.op.Now
		o.State, o.Ended, o.Step, o.Generation = control.OpDone, time.Now(), "", l.gens.current.Number
		if err != nil {
			o.State, o.Error = control.OpFailed, err.Error()
			l.log.Error(op.kind+" failed: "+err.Error(), "generation", l.gens.current.Number)
		} else {
			for _, note := range o.Notes {
				l.log.Warn(op.kind + ": " + note)
			}
			l.log.Info(op.kind+" done", "generation", l.gens.current.Number, "took", o.Took().Round(time.Millisecond))
		}
		l.op.cancel = nil
		l.tellOperation()
		op.result = *o
		return nil
	})
	if err != nil {
		op.err = control.AsError(err)
	}
}

// patienceMore is added to each time-out that the service manager is told.
const patienceMore = 10 * time.Second

// tellOperation sends the event about the operation as it is now.
func (l *loop) tellOperation() {
	o := l.op.Now
	if o.State == control.OpRunning {
		// systemctl reload waits, and may not give up while it progresses.
		l.host.Notify.Extend(l.set().StartTimeout + l.set().StopTimeout + patienceMore)
	}
	l.emit(control.Event{Kind: control.EventOperation, Operation: &o, Reason: o.Error})
}
