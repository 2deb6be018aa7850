package control

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// A BusyLimit is how many requests may be at workers at the same time, of those
// workers that take one at a time. The zero value is BusyAuto.
type BusyLimit int

// Limits that are no number.
const (
	BusyAuto BusyLimit = 0  // as many as keep the CPUs busy
	BusyOff  BusyLimit = -1 // as many as there are workers
)

// ParseBusyLimit reads auto, off or a number from 1 to WorkersMax.
func ParseBusyLimit(text string) (BusyLimit, error) {
	switch text {
	case "auto":
		return BusyAuto, nil
	case "off":
		return BusyOff, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > WorkersMax {
		return 0, fmt.Errorf("must be auto, off or a number from 1 to %d", WorkersMax)
	}
	return BusyLimit(n), nil
}

func (b BusyLimit) String() string {
	switch b {
	case BusyAuto:
		return "auto"
	case BusyOff:
		return "off"
	}
	return strconv.Itoa(int(b))
}

// Valid says whether b is one of those that ParseBusyLimit returns.
func (b BusyLimit) Valid() bool { return b >= BusyOff && b <= WorkersMax }

// MarshalJSON writes a number or a text.
func (b BusyLimit) MarshalJSON() ([]byte, error) {
	if b > 0 {
		return strconv.AppendInt(nil, int64(b), 10), nil
	}
	return json.Marshal(b.String())
}

// UnmarshalJSON reads what MarshalJSON writes, and a number as text.
func (b *BusyLimit) UnmarshalJSON(text []byte) error {
	var s string
	if len(text) > 0 && text[0] != '"' {
		s = string(text)
	} else if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	n, err := ParseBusyLimit(s)
	if err != nil {
		return err
	}
	*b = n
	return nil
}
