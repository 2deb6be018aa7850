package main

import (
	"errors"
	"strings"

	"github.com/scgid/scgid/master/config"
	"github.com/scgid/scgid/master/process"
)

// ownGroups returns the control group in which workers get groups of their
// own, nil if there is none, and says what this means for the configuration.
func ownGroups(conf *config.Config, adhoc bool, log logger) *process.Groups {
	groups, err := process.Delegated(askManager)
	if err != nil {
		// A command in a terminal is not expected to have them.
		report := log.Info
		if adhoc || errors.Is(err, process.ErrNoManager) {
			report = log.Debug
		}
		report("workers have no control groups of their own: what leaves a worker's process group is not ended with it", "because", err)
		groups = new(process.Groups)
	}
	groups.RemoveStale()
	for _, err := range groups.Refused {
		log.Info("workers are neither limited nor accounted by it", "err", err)
	}
	if missing := withoutEffect(conf, groups); len(missing) > 0 {
		log.Warn("no effect: there is no control group with the controller for it", "settings", strings.Join(missing, " "))
	}
	return groups
}

// groupsAgain returns the same after an upgrade: the groups are set up already,
// and what is missing has been logged. Stale groups are left alone: a worker may be about to enter
// a group that is empty.
func groupsAgain(log logger) *process.Groups {
	groups, err := process.Delegated(askManager)
	if err != nil {
		log.Debug("workers have no control groups of their own", "because", err)
		return new(process.Groups)
	}
	return groups
}

// withoutEffect lists the limits that are set and cannot be kept.
func withoutEffect(conf *config.Config, groups *process.Groups) (missing []string) {
	if conf.Worker.MemoryMax > 0 && !groups.Memory {
		missing = append(missing, "MemoryMax=")
	}
	if conf.Worker.TasksMax > 0 && !groups.Tasks {
		missing = append(missing, "TasksMax=")
	}
	return missing
}
