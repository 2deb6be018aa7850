package master

// leaveIdle ends a pool that has been quiet long enough, unless a
// connection comes at this very moment: what comes later finds the socket with
// systemd, which starts us again.
func (l *loop) leaveIdle() {
	for _, from := range l.intake.listeners {
		from.pending = true
	}
	l.intake.QuietSince = l.now
	l.acceptAll()
	if l.conns.open > 0 {
		return
	}
	l.log.Info("nothing to do, leaving", "idle_for", l.set().IdleExit)
	l.stop()
}

// stop begins the orderly exit: no new connections, all accepted ones are
// served, idle workers are retired, then run returns.
func (l *loop) stop() {
	if l.stage != serving {
		return
	}
	l.stage = draining
	l.alarms[stageDue] = l.now + l.set().StopTimeout
	l.alarms[readyDue], l.manager.Ready = 0, true
	if l.op.cancel != nil {
		l.op.cancel()
	}
	for _, w := range l.workers.all {
		if w != nil {
			l.abandonCanary(w)
		}
	}
	l.host.Notify.Stopping()
	l.host.Notify.Extend(l.set().StopTimeout + patienceMore)
	l.log.Info("stopping", "open", l.conns.open, "workers", l.workers.alive())
}

// harden goes to the next stage of stopping.
func (l *loop) harden() {
	switch l.stage {
	case serving:
		l.stop()
		return
	case draining:
		l.stage = pressing
		l.alarms[stageDue] = l.now + termFor
		l.host.Notify.Extend(termFor + patienceMore)
		l.log.Warn("stopping takes too long, ending what is left", "open", l.conns.open, "workers", l.workers.alive())
		l.turnAwayAll()
		for _, w := range l.workers.all {
			if w != nil && w.State != gone && w.State != killed {
				l.terminate(w)
			}
		}
	default:
		l.stage = killing
		l.alarms[stageDue] = 0
		for _, w := range l.workers.all {
			if w != nil {
				w.Ordered = true
				l.kill(w, "the master stops")
			}
		}
	}
}

// turnAwayAll ends all connections that no worker has.
func (l *loop) turnAwayAll() {
	for l.conns.waiting.first != nil {
		l.refuse(l.conns.waiting.first.of, stopping)
	}
	for l.conns.parked.first != nil {
		l.refuse(l.conns.parked.first.of, stopping)
	}
}

// windUp continues stopping; true means that nothing is left.
func (l *loop) windUp() bool {
	if l.stage > draining {
		l.turnAwayAll() // from workers that died now
	}
	if l.conns.waiting.len+l.conns.parked.len == 0 {
		l.dismiss()
	}
	return l.conns.open == 0 && l.workers.alive()+l.workers.in[preloaded] == 0 && l.reaper.inFlight == 0
}

// dismiss lets workers go that have nothing to do any more.
func (l *loop) dismiss() {
	for l.workers.idle.first != nil {
		l.retire(l.workers.idle.first.of)
	}
	for _, w := range l.workers.all {
		if w != nil && w.State == preloaded {
			l.letPreloadedGo(w)
		}
	}
	if l.workers.in[starting] == 0 {
		return
	}
	for _, w := range l.workers.all {
		if w != nil && w.State == starting {
			l.discard(w)
		}
	}
}

// abandon closes what the loop owns, after run.
func (l *loop) abandon() {
	for _, c := range l.conns.all {
		if c.FD >= 0 && c.State != 0 {
			l.drop(c)
		}
	}
	for _, w := range l.workers.all {
		if w != nil {
			if w.proc.PID != 0 && w.State != gone {
				w.proc.KillGroup()
			}
			l.forget(w)
		}
	}
	for _, from := range l.intake.listeners {
		l.unwatchListener(from)
	}
}
