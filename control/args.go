package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An ArgType is how an argument is written in JSON.
type ArgType string

// Types of arguments.
const (
	ArgCount   ArgType = "count"   // a number from 0 to WorkersMax; in Go *int, nil where it is left out
	ArgID      ArgType = "id"      // of a worker, from 1, and required; in Go uint64
	ArgFlag    ArgType = "flag"    // true or false; in Go bool
	ArgSeconds ArgType = "seconds" // a number, with fractions, from 0 to a day; in Go Seconds
	ArgText    ArgType = "text"    // up to 256 bytes; in Go *string
	ArgBusy    ArgType = "busy"    // auto, off or a number from 1 to WorkersMax; in Go *BusyLimit
)

// An Arg is an argument of a verb: a field of the struct that has its arguments.
type Arg struct {
	Name     string
	Type     ArgType
	Required bool
	Help     string
	field    int
}

// Arguments of verbs. Those of scale are a Change.
type (
	// NoArgs is for verbs without arguments.
	NoArgs struct{}

	// PauseArgs are the arguments of pause.
	PauseArgs struct {
		Limit Seconds `json:"limit,omitempty" help:"resume by itself after so long; 0 is never"`
	}
	// StopArgs are the arguments of stop.
	StopArgs struct {
		Now   bool    `json:"now,omitempty" help:"do not wait for requests at work"`
		Limit Seconds `json:"limit,omitempty" help:"wait no longer than this for requests at work; 0 is StopTimeoutSec="`
	}
	// WorkerArgs are the arguments of retire, kill and dump.
	WorkerArgs struct {
		Worker uint64 `json:"worker" help:"id of the worker, as workers shows it"`
	}
	// LevelArgs are the arguments of log-level.
	LevelArgs struct {
		Level *string `json:"level,omitempty" help:"debug, info, warning or err"`
	}
)

// Seconds is a time that JSON has as a number of seconds.
type Seconds time.Duration

const secondsMax = Seconds(24 * time.Hour)

// MarshalJSON writes a number.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads a number. What is greater than 0 stays so: 0 often means
// something else.
func (s *Seconds) UnmarshalJSON(text []byte) error {
	var f float64
	if err := json.Unmarshal(text, &f); err != nil {
		return err
	}
	if !(f >= 0 && f <= 2*time.Duration(secondsMax).Seconds()) {
		return fmt.Errorf("%g seconds are out of range", f)
	}
	*s = Seconds(math.Ceil(f * float64(time.Second)))
	return nil
}

// argsOf reads the arguments that a struct has as its fields.
func argsOf(t reflect.Type) []Arg {
	var all []Arg
	for i := range t.NumField() {
		f := t.Field(i)
		a := Arg{Help: f.Tag.Get("help"), field: i}
		a.Name, _, _ = strings.Cut(f.Tag.Get("json"), ",")
		switch reflect.New(f.Type).Elem().Interface().(type) {
		case *int:
			a.Type = ArgCount
		case uint64:
			a.Type, a.Required = ArgID, true
		case bool:
			a.Type = ArgFlag
		case Seconds:
			a.Type = ArgSeconds
		case *string:
			a.Type = ArgText
		case *BusyLimit:
			a.Type = ArgBusy
		default:
			panic(fmt.Sprintf("%v.%s is of a type that arguments have", t, f.Name))
		}
		all = append(all, a)
	}
	return all
}

// Parse reads the arguments of a call from a JSON object; nothing at all is {}.
// What it returns is of the type that Call takes. Its errors have CodeInvalid.
func (v *Verb) Parse(body []byte) (any, error) {
	object, err := parseObject(body)
	if err != nil {
		return nil, Errorf(CodeInvalid, "cannot %s: %v", v.Doing, err)
	}
	args := reflect.New(v.args).Elem()
	for _, name := range slices.Sorted(maps.Keys(object)) { // so that of several errors it is always the same
		i := slices.IndexFunc(v.Args, func(a Arg) bool { return a.Name == name })
		if i < 0 {
			return nil, Errorf(CodeInvalid, "cannot %s: there is no argument %.40q", v.Doing, name)
		}
		if string(object[name]) == "null" { // Unmarshal takes it for anything
			return nil, Errorf(CodeInvalid, "cannot %s: %s: must be left out, not null", v.Doing, name)
		}
		if json.Unmarshal(object[name], args.Field(v.Args[i].field).Addr().Interface()) != nil {
			return nil, v.wrong(&v.Args[i])
		}
	}
	for i := range v.Args {
		if _, given := object[v.Args[i].Name]; v.Args[i].Required && !given {
			return nil, Errorf(CodeInvalid, "cannot %s: argument %s is missing", v.Doing, v.Args[i].Name)
		}
	}
	return args.Interface(), v.Check(args.Interface())
}

// Check returns an error with CodeInvalid for the first argument that is out of
// range. args is of the type that Call takes.
func (v *Verb) Check(args any) error {
	all := reflect.ValueOf(args)
	for i := range v.Args {
		ok := true
		switch x := all.Field(v.Args[i].field).Interface().(type) {
		case *int:
			ok = x == nil || *x >= 0 && *x <= WorkersMax
		case uint64:
			ok = x > 0
		case Seconds:
			ok = x >= 0 && x <= secondsMax
		case *string:
			ok = x == nil || len(*x) <= textMax
		case *BusyLimit:
			ok = x == nil || x.Valid()
		}
		if !ok {
			return v.wrong(&v.Args[i])
		}
	}
	return nil
}

const textMax = 256

// wrong is the error for a value that its argument cannot have.
func (v *Verb) wrong(a *Arg) error {
	want := map[ArgType]string{
		ArgCount:   fmt.Sprintf("a number from 0 to %d", WorkersMax),
		ArgID:      "a number from 1",
		ArgFlag:    "true or false",
		ArgSeconds: fmt.Sprintf("a number of seconds from 0 to %g", time.Duration(secondsMax).Seconds()),
		ArgBusy:    fmt.Sprintf("auto, off or a number from 1 to %d", WorkersMax),
		ArgText:    fmt.Sprintf("a text of up to %d bytes", textMax),
	}[a.Type]
	return Errorf(CodeInvalid, "cannot %s: %s: must be %s", v.Doing, a.Name, want)
}

// describe is the arguments that are given, to stand behind a verb in a log
// line.
func (v *Verb) describe(args any) string {
	var given []string
	for _, a := range v.Args {
		field := reflect.ValueOf(args).Field(a.field)
		if field.IsZero() {
			continue
		}
		text := fmt.Sprint(reflect.Indirect(field).Interface())
		switch x := field.Interface().(type) {
		case Seconds:
			text = time.Duration(x).String()
		case *string:
			text = strconv.Quote(*x)
		}
		given = append(given, a.Name+"="+text)
	}
	if len(given) == 0 {
		return ""
	}
	return ": " + strings.Join(given, " ")
}

// parseObject reads exactly one JSON object. A name that comes twice is an
// error: readers disagree about which one counts.
func parseObject(body []byte) (map[string]json.RawMessage, error) {
	object := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(body)) == 0 {
		return object, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, fmt.Errorf("the body is not a JSON object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("the body is not a JSON object: %v", err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("the body is not a JSON object: %v", err)
		}
		key := name.(string) // in an object the decoder takes nothing else
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("argument %.40q comes twice", key)
		}
		object[key] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("the body is not a JSON object: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the JSON object")
	}
	return object, nil
}
