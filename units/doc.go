// Package units holds what scgid gives to the system beside its programs: the
// policy for D-Bus (org.scgid1.conf) and the actions for polkit
// (org.scgid1.policy).
//
// The files are the package's promise, its tests that the daemons which read
// them take them as they are meant. The package builder owns where they go. It
// is no code: nothing imports it.
package units
