package master

// A list keeps elements in order of their moments. Elements bring their own
// nodes, so that entering and leaving allocate nothing and take constant time.
type list[T any] struct {
	first, last *node[T]
	len         int
}

// A node is the place of one element in at most one list at a time.
type node[T any] struct {
	prev, next *node[T]
	list       *list[T]
	of         *T
	at         Time // what the list is ordered by: mostly a deadline
}

// append puts n behind the last, or, if that has a later moment (a reload has
// made a time-out shorter), before those that have.
func (l *list[T]) append(n *node[T], at Time) {
	n.leave()
	prev := l.last
	for prev != nil && prev.at > at {
		prev = prev.prev
	}
	if prev == nil {
		l.prepend(n, at)
		return
	}
	l.putAfter(prev, n, at)
}

func (l *list[T]) putAfter(prev, n *node[T], at Time) {
	n.list, n.at, n.prev, n.next = l, at, prev, prev.next
	if prev.next != nil {
		prev.next.prev = n
	} else {
		l.last = n
	}
	prev.next = n
	l.len++
}

// prepend puts n before the first.
func (l *list[T]) prepend(n *node[T], at Time) {
	n.leave()
	n.list, n.at, n.next = l, at, l.first
	if l.first != nil {
		l.first.prev = n
	} else {
		l.last = n
	}
	l.first = n
	l.len++
}

// insert puts n before the first with a later moment. It looks from the front.
func (l *list[T]) insert(n *node[T], at Time) {
	n.leave()
	var prev *node[T]
	for next := l.first; next != nil && next.at <= at; next = next.next {
		prev = next
	}
	if prev == nil {
		l.prepend(n, at)
		return
	}
	l.putAfter(prev, n, at)
}

// leave takes n out of the list it is in, if it is in one.
func (n *node[T]) leave() {
	l := n.list
	if l == nil {
		return
	}
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		l.first = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		l.last = n.prev
	}
	n.prev, n.next, n.list = nil, nil, nil
	l.len--
}

// next is the first element's moment, not 0; without any it is 0.
func (l *list[T]) next() Time {
	if l.first == nil {
		return 0
	}
	return max(l.first.at, 1)
}
