// Package cost measures what a server's processes use while something runs:
// CPU time, context switches and, with strace, system calls.
//
// It reads /proc and the processes' CPU clocks, and owns nothing but the control
// groups that it is asked for. It starts and stops no server. Its figures are
// exact for processes and threads that live from the first Snapshot to the
// second; with a Group the CPU of all others is too. See Cost for the rest.
package cost

import (
	"fmt"
	"time"
)

// A Snapshot is what a process tree and the kernel had used at one time.
type Snapshot struct {
	root     int
	cpu      map[int]time.Duration // by pid, of the tree
	children time.Duration         // waited for by any of the tree
	switches map[int]int64         // by thread
	own      map[int]int64         // the part of switches that is the root's
	kernel   map[int]time.Duration // CPU by kernel thread
	group    *time.Duration        // CPU of the group that holds the tree; nil without one
}

// Take reads the tree of processes that begins at root.
func Take(root int) (*Snapshot, error) { return TakeIn(root, nil) }

// TakeIn is Take for a tree that lives in a group of its own, unless g is nil.
func TakeIn(root int, g *Group) (*Snapshot, error) {
	all, err := processes()
	if err != nil {
		return nil, fmt.Errorf("cannot read the process table: %v", err)
	}
	s := &Snapshot{root: root, cpu: map[int]time.Duration{}, switches: map[int]int64{},
		own: map[int]int64{}, kernel: map[int]time.Duration{}}
	in := tree(all, root)
	if !in[root] {
		return nil, fmt.Errorf("there is no process %d", root)
	}
	for _, p := range all {
		used, alive := cpu(p.pid)
		switch {
		case !alive:
		case in[p.pid]:
			s.cpu[p.pid] = used
			s.children += p.children
			switches(p.pid, s.switches)
		case p.kernel:
			s.kernel[p.pid] = used
		}
	}
	switches(root, s.own)
	if g != nil {
		used, err := g.CPU()
		if err != nil {
			return nil, err
		}
		s.group = &used
	}
	return s, nil
}

// tree is the set of root and its descendants, empty without root.
func tree(all []process, root int) map[int]bool {
	below := map[int][]int{}
	in := map[int]bool{}
	for _, p := range all {
		below[p.parent] = append(below[p.parent], p.pid)
		if p.pid == root {
			in[root] = true
		}
	}
	if !in[root] {
		return in
	}
	for next := []int{root}; len(next) > 0; next = next[1:] {
		for _, child := range below[next[0]] {
			if !in[child] {
				in[child] = true
				next = append(next, child)
			}
		}
	}
	return in
}

// Cost is what was used between two Snapshots.
//
// Without a Group, CPU holds children that ended and were waited for, to the
// hundredth of a second; switches of threads that ended in between are lost.
type Cost struct {
	Master    Use
	Tree      Use           // the master and all its descendants
	Kernel    time.Duration // CPU of all kernel threads of the machine
	Processes int           // in the tree at the end
}

// Use is CPU time, user and system, and context switches, voluntary and not.
type Use struct {
	CPU      time.Duration
	Switches int64
}

// Since is what was used from before until s.
func (s *Snapshot) Since(before *Snapshot) Cost {
	c := Cost{Processes: len(s.cpu)}
	c.Master = Use{s.cpu[s.root] - before.cpu[s.root], gained(s.own, before.own)}
	c.Tree = Use{max(0, sum(s.cpu)+s.children-sum(before.cpu)-before.children), gained(s.switches, before.switches)}
	if s.group != nil && before.group != nil {
		c.Tree.CPU = *s.group - *before.group
	}
	c.Kernel = time.Duration(gained(s.kernel, before.kernel))
	return c
}

// Ran counts the processes of the tree, but for its root, that have used CPU
// since before.
func (s *Snapshot) Ran(before *Snapshot) (n int) {
	for pid, used := range s.cpu {
		if pid != s.root && used > before.cpu[pid] {
			n++
		}
	}
	return n
}

// gained adds up how much each entry has grown; one that has shrunk is a new
// owner of an old number.
func gained[N ~int64](after, before map[int]N) (total N) {
	for id, n := range after {
		if n >= before[id] {
			n -= before[id]
		}
		total += n
	}
	return total
}

func sum(m map[int]time.Duration) (total time.Duration) {
	for _, d := range m {
		total += d
	}
	return total
}

// PerRequest is a Cost divided by a number of requests. Its JSON keys are
// stable.
type PerRequest struct {
	Pid       int     `json:"pid"`
	Processes int     `json:"processes"`
	Master    Share   `json:"master"`
	Tree      Share   `json:"tree"`
	Kernel    float64 `json:"kernel_threads_cpu_us"`
	// Syscalls are of the whole tree, by name; nil when they were not counted.
	Syscalls map[string]float64 `json:"syscalls,omitempty"`
}

// Share is one request's part of a Use.
type Share struct {
	CPU      float64 `json:"cpu_us"`
	Switches float64 `json:"switches"`
}

// Per divides c among n requests to the server with that pid.
func (c Cost) Per(n int64, pid int) PerRequest {
	if n == 0 {
		n = 1
	}
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(n) }
	share := func(u Use) Share { return Share{us(u.CPU), float64(u.Switches) / float64(n)} }
	return PerRequest{Pid: pid, Processes: c.Processes, Master: share(c.Master), Tree: share(c.Tree), Kernel: us(c.Kernel)}
}
