package master

import (
	"context"

	"github.com/scgid/scgid/control"
)

// Upgrade is not there yet.
func (m *Master) Upgrade(context.Context) (control.Operation, error) {
	return control.Operation{}, control.Errorf(control.CodeFailed, "cannot upgrade: not built yet")
}
