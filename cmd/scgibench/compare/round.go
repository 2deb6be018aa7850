package compare

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/compare/servers"
	"github.com/scgid/scgid/cmd/scgibench/cost"
)

// round loads the server for d and returns what that cost.
func round(ctx context.Context, s *servers.Server, c Clients, d time.Duration) (Sample, error) {
	if s.Kind.Spawns() {
		return spawnRound(ctx, s, d)
	}
	l := s.Load()
	l.Clients, l.Pause, l.Duration = c.N, c.Pause, d
	before, err := cost.TakeIn(s.Pid, s.Group)
	if err != nil {
		return Sample{}, errors.Join(err, errors.New(s.Says()))
	}
	res, err := l.Run(ctx)
	if err != nil {
		return Sample{}, err
	}
	after, err := cost.TakeIn(s.Pid, s.Group)
	if err != nil {
		return Sample{}, errors.Join(err, errors.New(s.Says()))
	}
	if res.OK == 0 {
		return Sample{}, fmt.Errorf("no request of %d was good: %v: %s", res.Requests, res.Examples, s.Says())
	}
	used := after.Since(before).Per(res.Requests, s.Pid)
	return Sample{
		Requests: res.Requests, Failed: res.Failed, Rate: res.PerSecond,
		CPU: used.Tree.CPU, Master: used.Master.CPU, Workers: max(0, used.Tree.CPU-used.Master.CPU), Kernel: used.Kernel,
		Switches: used.Tree.Switches, P50: res.Latency.P50, P99: res.Latency.P99, Generator: res.OwnCPU,
	}, nil
}

// spawnRound has the program run by posix_spawn alone. Its children's CPU comes
// with its own, by wait4(2).
func spawnRound(ctx context.Context, s *servers.Server, d time.Duration) (Sample, error) {
	argv := s.SpawnCommand(d)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out, err := cmd.Output()
	if err != nil {
		return Sample{}, fmt.Errorf("%s: %v", argv[0], err)
	}
	var n, us int64
	if _, err := fmt.Sscan(string(out), &n, &us); err != nil || n < 1 || us < 1 {
		return Sample{}, fmt.Errorf("%s says %q", argv[0], out)
	}
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	cpu := float64(used.Nanoseconds()) / 1e3 / float64(n)
	each := float64(us) / float64(n)
	return Sample{Requests: n, Rate: 1e6 / each, CPU: cpu, Workers: cpu, P50: each, P99: each}, nil
}

// warmRounds is how often the warm-up is tried until every worker has served.
const warmRounds = 5

// warm loads the server until every worker has served, and returns how many
// have. It gives up after a few rounds: a figure with one cold worker in
// sixteen is better than none, and the report says so.
func warm(ctx context.Context, s *servers.Server) (served int, err error) {
	if s.Kind.Spawns() {
		return 0, nil
	}
	before, err := cost.Take(s.Pid)
	if err != nil {
		return 0, errors.Join(err, errors.New(s.Says()))
	}
	pids := map[int]bool{}
	for range warmRounds {
		if err := warmOnce(ctx, s, pids); err != nil {
			return 0, err
		}
		after, err := cost.Take(s.Pid)
		if err != nil {
			return 0, errors.Join(err, errors.New(s.Says()))
		}
		// A worker that says who it is must have served; of the others it is
		// enough that they have done something.
		if served = len(pids); served == 0 {
			served = min(after.Ran(before), s.Workers)
		}
		if served >= s.Workers {
			break
		}
	}
	return served, nil
}

func warmOnce(ctx context.Context, s *servers.Server, pids map[int]bool) error {
	if s.App.Sleep {
		for _, a := range hold(ctx, s, s.Workers+2) {
			pids[a.pid] = true
		}
	}
	l := s.Load()
	l.Clients, l.Duration = min(2*s.Workers, 32), 50*time.Millisecond
	if _, err := l.Run(ctx); err != nil {
		return err
	}
	return ctx.Err()
}
