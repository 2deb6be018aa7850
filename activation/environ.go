package activation

import (
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// ManagerVars lists the variables by which the service manager speaks to the
// server alone; see systemd.exec(5). A worker must not see them: it would take
// our sockets, our watchdog or our journal stream for its own.
func ManagerVars() []string {
	return []string{
		"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
		"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
		"FDSTORE", "JOURNAL_STREAM",
		"MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE",
		"SYSTEMD_EXEC_PID", "INVOCATION_ID", "MAINPID", "MANAGERPID",
	}
}

// CleanEnviron returns a copy of env ("KEY=VALUE" entries) without ManagerVars.
func CleanEnviron(env []string) []string {
	vars := ManagerVars()
	clean := make([]string, 0, len(env))
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if !slices.Contains(vars, name) {
			clean = append(clean, e)
		}
	}
	return clean
}

// WatchdogInterval returns how often the service manager is to be pinged: half
// of WATCHDOG_USEC. It is 0, no pings, if that is not set, makes no sense, or
// WATCHDOG_PID names another process.
func WatchdogInterval() time.Duration {
	whole, err := daemon.SdWatchdogEnabled(false)
	if err != nil || whole < 0 {
		return 0
	}
	return whole / 2
}
