package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// marshal writes v as one line, with < > & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// parseObject reads exactly one JSON object. A name that comes twice is an
// error: readers disagree about which one counts. Nothing at all is {}.
func parseObject(body []byte) (map[string]json.RawMessage, error) {
	object := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(body)) == 0 {
		return object, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, fmt.Errorf("the body is no JSON object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("the body is no JSON object: %v", err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("the body is no JSON object: %v", err)
		}
		key := name.(string) // in an object the decoder takes nothing else
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("argument %.40q comes twice", key)
		}
		object[key] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("the body is no JSON object: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the JSON object")
	}
	return object, nil
}
