package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A preloaded process makes workers by fork(2); see scgid-worker(7).
//
//	process -> master     PRELOAD=level, once it knows what SCGID_PRELOAD means
//	                      READY=1 PRELOAD=level, or REFUSED=text and an exit
//	master -> process     WORKER=<id> [VAR=name=value]..., with the end of the
//	                      new worker's link, its page if it has one, and its
//	                      standard output and error where they are not the
//	                      process's own
//	                      OUTPUT=1, with the process's own output from now on
//	process -> master     WORKER=<id> FAILED=text: that worker was not made
//	new worker -> master  STARTED=1, on its own link, with its credentials
//	master -> new worker  GO=1: it is where it belongs

// EnvPreload asks a program to be a preloaded process, at this level.
const EnvPreload = "SCGID_PRELOAD"

// setPreload takes one line about preloading; used is false for any other.
func (m *Message) setPreload(key, value []byte) (used bool, err error) {
	ok := true
	switch string(key) {
	case "PRELOAD":
		m.Preload, ok = value, len(value) > 0
	case "REFUSED":
		m.Refused = value
	case "WORKER":
		m.Worker, ok = number(value)
	default:
		return false, nil
	}
	if !ok {
		return false, &ParseError{fmt.Sprintf("bad value %.40q of %s", value, key)}
	}
	return true, nil
}

// SendFork asks the preloaded process behind fd, the master's end of its link,
// for worker id. The new process gets copies of fds: the worker's end of its
// link, its page if it has one, and its standard output and error if these are to be others than those
// of the preloaded process. It gets the variables vars beside its maker's. All
// descriptors are borrowed. It never blocks; its errors are as of SendConn.
func SendFork(fd int, id uint64, vars []string, fds ...int) error {
	text := strconv.AppendUint([]byte("WORKER="), id, 10)
	for _, v := range vars {
		text = append(append(text, "\nVAR="...), v...)
	}
	if len(text) > MaxMessage {
		return fmt.Errorf("the variables of worker %d are longer than a message", id)
	}
	return sendWith(fd, text, fds)
}

// SendOutput gives the preloaded process behind fd another standard output and
// error. It borrows the descriptors and never blocks.
func SendOutput(fd, stdout, stderr int) error {
	return sendWith(fd, []byte("OUTPUT=1"), []int{stdout, stderr})
}

// SendGo lets a worker that was forked go on to the application. fd is the
// master's end of its link. It never blocks.
func SendGo(fd int) error { return sendWith(fd, goMessage, nil) }

var goMessage = []byte("GO=1")

func sendWith(fd int, text []byte, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		_, err := unix.SendmsgN(fd, text, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		errno, _ := err.(unix.Errno)
		return sendError(errno)
	}
}

// Credentials has the kernel say with each message that comes to fd, the
// master's end of a link, which process sent it; or not any more. While it does,
// only ReceiveStarted may receive. See SO_PASSCRED in unix(7).
func Credentials(fd int, on bool) error {
	value := 0
	if on {
		value = 1
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, value))
}

// ReceiveStarted receives the first message of a worker that was forked from fd,
// the master's end of its link, and returns the sender's pid as the kernel tells
// it. It never blocks: ErrEmpty means that nothing has come yet. Any other message
// is a *ParseError. Descriptors that come with it are closed.
func ReceiveStarted(fd int) (pid int, err error) {
	var buf [64]byte
	oob := make([]byte, 256)
	n, oobn, flags, err := recvmsg(fd, buf[:], oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if errors.Is(err, unix.EAGAIN) {
		return 0, ErrEmpty
	}
	if err != nil {
		return 0, os.NewSyscallError("recvmsg", err)
	}
	fds, rerr := rights(oob[:oobn])
	closeAll(fds)
	if rerr != nil || len(fds) > 0 || flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 || !bytes.Equal(buf[:n], []byte("STARTED=1")) {
		return 0, &ParseError{"its first message is not STARTED=1"}
	}
	return sender(oob[:oobn])
}

// sender finds the pid in the control data.
func sender(oob []byte) (pid int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, &ParseError{"unreadable control data"}
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_CREDENTIALS && len(m.Data) >= unix.SizeofUcred {
			pid = int(int32(binary.NativeEndian.Uint32(m.Data)))
		}
	}
	if pid <= 1 {
		return 0, &ParseError{"a message of nobody"}
	}
	return pid, nil
}
