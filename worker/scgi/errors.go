package scgi

import "errors"

var (
	// ErrShort: the bytes are a valid beginning, more are needed.
	ErrShort = errors.New("SCGI header is not complete")

	// ErrTooLarge: the netstring is longer than allowed. Its length tells, so
	// it is known before the block has come. The answer is 431.
	ErrTooLarge = errors.New("SCGI header is too large")
)

// A SyntaxError says why bytes are not an SCGI request, and which HTTP status
// answers them: 400, or 411 where the body's length is unknown.
// The ones that Peek and ReadRequest return are shared: do not change them.
type SyntaxError struct {
	Status int
	Reason string
}

func (e *SyntaxError) Error() string { return "bad SCGI request: " + e.Reason }

// They are variables because Peek must not allocate, on bad input neither.
var (
	errNoLength      = &SyntaxError{400, "netstring has no length"}
	errNotDigit      = &SyntaxError{400, "netstring length is not decimal"}
	errLeadingZero   = &SyntaxError{400, "netstring length begins with 0"}
	errLongLength    = &SyntaxError{400, "netstring length has more than 9 digits"}
	errNoComma       = &SyntaxError{400, "netstring does not end in a comma"}
	errEmptyBlock    = &SyntaxError{400, "header block is empty"}
	errNoNUL         = &SyntaxError{400, "header block does not end in NUL"}
	errOdd           = &SyntaxError{400, "last name in the header block has no value"}
	errEmptyName     = &SyntaxError{400, "variable has an empty name"}
	errManyVars      = &SyntaxError{400, "too many variables"}
	errLengthFirst   = &SyntaxError{400, "CONTENT_LENGTH is not the first variable"}
	errLengthTwice   = &SyntaxError{400, "CONTENT_LENGTH comes twice"}
	errLengthValue   = &SyntaxError{400, "CONTENT_LENGTH is not a decimal number of 1 to 18 digits"}
	errLengthUnknown = &SyntaxError{411, "length of the body is unknown (CONTENT_LENGTH is -1)"}
	errVersion       = &SyntaxError{400, "SCGI is not 1"}
	errVersionTwice  = &SyntaxError{400, "SCGI comes twice"}
)
