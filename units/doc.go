// Package units holds what scgid gives to the system beside its programs: the
// systemd units and the example drop-ins for them, those for a user's own service
// manager, sysusers.d and tmpfiles.d, the policy for D-Bus (org.scgid1.conf) and
// the actions for polkit (org.scgid1.policy).
//
// The files are the package's promise. Its tests prove it: they boot a real
// systemd, see boot_test.go, and ask the daemons that read the policy. The package
// builder owns where the files go. It is not code: nothing imports it.
package units
