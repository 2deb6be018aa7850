package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// webUsers are the users that web servers run as: Debian, the upstream nginx
// packages and Fedora, Arch, Fedora's Apache.
var webUsers = []string{"www-data", "nginx", "http", "apache"}

// An account is a user as the kernel judges it.
type account struct {
	Name     string
	UID, GID uint32
	Groups   []uint32 // supplementary, the primary one among them
}

// findWebUser looks a user up; without a name, the first of webUsers that
// exists, or nil.
func findWebUser(name string) (*account, error) {
	if name != "" {
		a, err := findAccount(name)
		if err != nil {
			return nil, usage(err.Error(), "name an existing user with --web-user")
		}
		return a, nil
	}
	for _, name := range webUsers {
		if a, err := findAccount(name); err == nil {
			return a, nil
		}
	}
	return nil, nil
}

// findAccount looks a user up with all its groups, by whatever nsswitch.conf(5)
// names.
func findAccount(name string) (*account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("cannot read the groups of %s: %v", name, err)
	}
	a := &account{Name: u.Username}
	for _, p := range []struct {
		text string
		to   *uint32
	}{{u.Uid, &a.UID}, {u.Gid, &a.GID}} {
		n, err := strconv.ParseUint(p.text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s has the odd number %q", name, p.text)
		}
		*p.to = uint32(n)
	}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			a.Groups = append(a.Groups, uint32(n))
		}
	}
	return a, nil
}

// Permission bits as in one digit of a mode.
const (
	mayWrite  = 2
	maySearch = 1
)

// allowed judges by mode, owner and group alone; access control lists and
// security modules may say more, or less.
func (a *account) allowed(st *unix.Stat_t, bit uint32) bool {
	switch {
	case a.UID == 0:
		return true
	case st.Uid == a.UID:
		return st.Mode>>6&bit != 0
	case st.Gid == a.GID || slices.Contains(a.Groups, st.Gid):
		return st.Mode>>3&bit != 0
	}
	return st.Mode&bit != 0
}

// connect connects once and hangs up. The error is nil, a syscall.Errno, or
// what kept the attempt from being made.
func connect(ctx context.Context, to endpoint) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, to.network, to.address)
	if err == nil {
		conn.Close()
		return nil
	}
	var no syscall.Errno
	switch {
	case errors.As(err, &no):
		return no
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		return unix.ETIMEDOUT
	}
	return err
}

// errNoChild is an attempt as another user that could not be made.
var errNoChild = errors.New("cannot become another user")

// connectAs connects as a, in a child process with its user and groups: so the
// kernel itself is asked, with everything that it takes into account.
func (a *account) connectAs(ctx context.Context, to endpoint) error {
	if os.Geteuid() == int(a.UID) {
		return connect(ctx, to)
	}
	if os.Geteuid() != 0 {
		return errNoChild
	}
	// The link in /proc reaches the program wherever it is, also where that
	// user may not go.
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "doctor", "--connect-only", to.address)
	cmd.Args[0] = os.Args[0]
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.UID, Gid: a.GID, Groups: a.Groups}}
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return unix.ETIMEDOUT
	}
	if err != nil {
		return fmt.Errorf("%w: %v", errNoChild, err)
	}
	no, err := strconv.Atoi(strings.TrimSpace(string(out)))
	switch {
	case err != nil || no < 0 || no > 4096:
		return fmt.Errorf("%w: it says %.40q", errNoChild, out)
	case no == 0:
		return nil
	}
	return syscall.Errno(no)
}

// childTime bounds a connection in the child; its parent's limit is shorter as
// a rule.
const childTime = 2 * time.Minute

// connectOnly runs in the child of connectAs. It prints an errno, 0 for a
// connection.
func (c *ctl) connectOnly(address string) error {
	to, err := parseEndpoint(address)
	if err != nil {
		return usage(err.Error(), "")
	}
	ctx, cancel := context.WithTimeout(context.Background(), childTime)
	defer cancel()
	err = connect(ctx, to)
	var no syscall.Errno
	if err != nil && !errors.As(err, &no) {
		return control.AsError(err)
	}
	c.out.WriteString(strconv.Itoa(int(no)) + "\n")
	return nil
}

// groupName is the name of a group, or its number.
func groupName(gid uint32) string {
	if g, err := user.LookupGroupId(strconv.FormatUint(uint64(gid), 10)); err == nil {
		return g.Name
	}
	return strconv.FormatUint(uint64(gid), 10)
}

func userName(uid uint32) string {
	if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		return u.Username
	}
	return strconv.FormatUint(uint64(uid), 10)
}
