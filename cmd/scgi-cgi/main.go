// Command scgi-cgi is a worker of scgid that runs CGI/1.1 programs (RFC 3875): one
// program for all requests, or the one beneath a directory that a request
// names. It starts a process for each request and passes its reply on as it is
// written.
//
// Each program gets an environment that is made of the request and scrubbed,
// the request's body as standard input, and a process group that is ended when
// the client leaves. Its standard error goes to the worker's, a line at a time.
//
// It is started by scgid, as the command of scgid run or of ExecStart=. It sets
// no time limits, does not choose how many workers there are, and speaks no
// HTTP: those are the master's and the web server's.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/scgid/scgid/worker"
	"github.com/scgid/scgid/worker/link"
	"github.com/spf13/cobra"
)

// options are the flags of the command line.
type options struct {
	slots          int
	root           string
	index          string
	followLinksTo  []string
	pinScripts     bool
	env            []string
	passEnv        []string
	passRequestVar []string
	authorization  bool
	absolute       bool
	maxSpool       size
	waits
}

// waits are bounds that only the tests change.
type waits struct {
	silence time.Duration // how long a client may send nothing: of its header all must be there by then, of its body something
	unread  time.Duration // how long a program may read nothing of a body of which --max-spool is kept
}

func main() {
	execute(options{waits: waits{silence: time.Minute, unread: 10 * time.Second}})
}

// execute runs the command line, starting from o.
func execute(o options) {
	if err := command(o).Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "scgi-cgi: %v\n", err)
		os.Exit(1)
	}
}

func command(o options) *cobra.Command {
	c := &cobra.Command{
		Use:   "scgi-cgi [flags] PROGRAM [ARG...]\n  scgi-cgi [flags] --root DIR",
		Short: "Run CGI programs as a worker of scgid",
		Long: `scgi-cgi runs CGI/1.1 programs as a worker of scgid: PROGRAM for every request,
or with --root the program beneath DIR that the request's SCRIPT_FILENAME names
(else DOCUMENT_ROOT with SCRIPT_NAME or DOCUMENT_URI). What leads out of DIR, be
it by .. or by a symbolic link, is refused, unless --follow-links-to allows it.`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			return run(&o, args)
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return tellMaster(err) })
	f := c.Flags()
	f.SetInterspersed(false) // what follows PROGRAM is the program's
	f.SortFlags = false
	f.IntVar(&o.slots, "slots", 4, "programs to run at a time")
	f.StringVar(&o.root, "root", "", "run the programs beneath `DIR`")
	f.StringVar(&o.index, "index", "", "program of a directory beneath the root, such as index.cgi; without `NAME` it is refused")
	f.StringArrayVar(&o.followLinksTo, "follow-links-to", nil, "let symbolic links beneath the root lead to the program `PATH`, or to those beneath it (repeatable)")
	f.BoolVar(&o.pinScripts, "pin-scripts", false, "execute scripts beneath the root by descriptor; their own name is /proc/self/fd/3 then")
	f.StringArrayVar(&o.env, "env", nil, "set a variable for the programs (`NAME=VALUE`, repeatable)")
	f.StringArrayVar(&o.passEnv, "pass-env", nil, "pass a variable of the worker's on (`NAME`, repeatable)")
	f.StringArrayVar(&o.passRequestVar, "pass-request-var", nil, "let programs see a variable of requests that is not on the list (`NAME`, or NAME_*, repeatable)")
	f.BoolVar(&o.authorization, "pass-authorization", false, "let programs see HTTP_AUTHORIZATION")
	f.BoolVar(&o.absolute, "absolute-redirects", false, "make every Location a whole URL, and so a redirect by the client")
	o.maxSpool = 256 << 20
	f.Var(&o.maxSpool, "max-spool", "how much of a request's body is kept for a program that does not read, in bytes; K, M and G are understood")
	return c
}

// A size is a number of bytes on the command line: 1048576, 1024K or 1M.
type size int64

func (s *size) String() string {
	n, unit := int64(*s), ""
	for _, u := range []string{"K", "M", "G"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.FormatInt(n, 10) + unit
}

func (s *size) Set(text string) error {
	shift := 0
	digits := strings.TrimRight(text, "KMG")
	if unit := text[len(digits):]; len(unit) == 1 {
		shift = 10 * (1 + strings.Index("KMG", unit))
	} else if unit != "" {
		return errors.New("not a number of bytes from 64K on")
	}
	n, err := strconv.ParseUint(digits, 10, 62-shift)
	if err != nil || n<<shift < 64<<10 {
		return errors.New("not a number of bytes from 64K on")
	}
	*s = size(n << shift)
	return nil
}

func (s *size) Type() string { return "SIZE" }

// run is the worker.
func run(o *options, args []string) error {
	w, err := worker.Open()
	if err != nil {
		if cerr := o.check(args); cerr != nil && errors.Is(err, link.ErrNoMaster) {
			err = cerr
		}
		return err
	}
	defer w.Close()
	if err := o.check(args); err != nil {
		return w.Fail(err)
	}
	lines := newLogQueue(os.Stderr)
	defer lines.close()
	s, err := newServer(o, args, log.New(lines, "scgi-cgi: ", 0))
	if err != nil {
		return w.Fail(err)
	}
	if err := w.Ready(o.slots); err != nil {
		return w.Fail(err)
	}
	return s.serve(w)
}

// tellMaster passes on what is wrong with a flag, if a master is there.
func tellMaster(err error) error {
	w, oerr := worker.Open()
	if oerr != nil {
		return err
	}
	defer w.Close()
	return w.Fail(err)
}

// check says what is wrong with the command line.
func (o *options) check(args []string) error {
	switch {
	case o.root == "" && len(args) == 0:
		return errors.New("name a PROGRAM, or --root DIR")
	case o.root != "" && len(args) > 0:
		return fmt.Errorf("with --root the request names the program: unexpected argument %q", args[0])
	case o.root == "" && o.index != "":
		return errors.New("--index goes with --root only")
	case o.root == "" && (len(o.followLinksTo) > 0 || o.pinScripts):
		return errors.New("--follow-links-to and --pin-scripts go with --root only")
	case strings.ContainsRune(o.index, '/'):
		return fmt.Errorf("--index %q is not a file name", o.index)
	case o.slots < 1 || o.slots > link.MaxSlots:
		return fmt.Errorf("--slots %d is not within 1 to %d", o.slots, link.MaxSlots)
	}
	return o.checkVariables()
}

// checkVariables says what is wrong with the options about variables.
func (o *options) checkVariables() error {
	for _, pair := range o.env {
		if name, _, ok := strings.Cut(pair, "="); !ok || !isName(name) {
			return fmt.Errorf("--env %q is not NAME=VALUE", pair)
		}
	}
	for _, name := range o.passEnv {
		if !isName(name) {
			return fmt.Errorf("--pass-env %q is not the name of a variable", name)
		}
	}
	for _, name := range o.passRequestVar {
		begin, some := strings.CutSuffix(name, "*")
		switch {
		case name == "HTTP_AUTHORIZATION":
			return fmt.Errorf("--pass-request-var %s: the option for that is --pass-authorization", name)
		case isWithheld(name):
			return fmt.Errorf("--pass-request-var %s: programs never get this variable from a request", name)
		case !isName(begin) || some && !strings.HasSuffix(begin, "_"):
			return fmt.Errorf("--pass-request-var %q is not the name of a variable, nor one like NAME_*", name)
		}
	}
	return nil
}

// version is the module's, or of a build from a checkout the revision.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
