//go:build scgid_otherstate

package master

// stateFormat is one that no release has, for the tests' program of another
// version.
const stateFormat = "other"
