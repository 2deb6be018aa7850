package master

// leaveIdle ends a pool that has been quiet long enough, unless somebody
// knocks at this very moment: what comes later finds the socket with systemd,
// which starts us again.
func (l *loop) leaveIdle() {
	for _, from := range l.listeners {
		from.maybe = true
	}
	l.quietSince = l.now
	l.intake()
	if l.open > 0 {
		return
	}
	l.log.info("nothing to do, leaving", "idle_for", l.set.IdleExit)
	l.stop()
}

// stop begins the orderly exit: no new connections, all accepted ones are
// served, idle workers are retired, then run returns.
func (l *loop) stop() {
	if l.stage != serving {
		return
	}
	l.stage = draining
	l.stopAt = l.now + l.set.StopTimeout
	l.readyAt = 0
	if l.cancelOperation != nil {
		l.cancelOperation()
	}
	for _, w := range l.workers {
		if w != nil {
			l.dropTrial(w)
		}
	}
	l.notify.Stopping()
	l.notify.Extend(l.set.StopTimeout + patienceMore)
	l.log.info("stopping", "open", l.open, "workers", l.alive())
}

// harden goes to the next stage of stopping.
func (l *loop) harden() {
	switch l.stage {
	case serving:
		l.stop()
		return
	case draining:
		l.stage = pressing
		l.stopAt = l.now + termFor
		l.notify.Extend(termFor + patienceMore)
		l.log.warn("stopping takes too long, ending what is left", "open", l.open, "workers", l.alive())
		l.turnAwayAll()
		for _, w := range l.workers {
			if w != nil && w.state != gone && w.state != killed {
				l.terminate(w)
			}
		}
	default:
		l.stage = killing
		l.stopAt = 0
		for _, w := range l.workers {
			if w != nil {
				l.kill(w, "the master stops")
			}
		}
	}
}

// turnAwayAll ends all connections that no worker has.
func (l *loop) turnAwayAll() {
	for l.waiting.first != nil {
		l.refuse(l.waiting.first.of, stopping)
	}
	for l.parked.first != nil {
		l.refuse(l.parked.first.of, stopping)
	}
}

// windUp goes on stopping; true means that nothing is left.
func (l *loop) windUp() bool {
	if l.stage > draining {
		l.turnAwayAll() // from workers that died now
	}
	if l.waiting.len+l.parked.len == 0 {
		l.dismiss()
	}
	return l.open == 0 && l.alive() == 0 && l.inFlight == 0
}

// dismiss lets workers go that have nothing to do any more.
func (l *loop) dismiss() {
	for l.idle.first != nil {
		l.retire(l.idle.first.of)
	}
	if l.in[starting] == 0 {
		return
	}
	for _, w := range l.workers {
		if w != nil && w.state == starting {
			l.discard(w)
		}
	}
}

// alive is the number of worker processes, dead ones with a living group
// included.
func (l *loop) alive() int {
	n := 0
	for _, of := range l.in {
		n += of
	}
	return n
}

// abandon closes what the loop owns, after run.
func (l *loop) abandon() {
	for _, c := range l.conns {
		if c.fd >= 0 && c.state != 0 {
			l.drop(c)
		}
	}
	for _, w := range l.workers {
		if w != nil {
			if w.proc.PID != 0 && w.state != gone {
				w.proc.KillGroup()
			}
			l.forget(w)
		}
	}
	for _, from := range l.listeners {
		l.mute(from)
	}
}
