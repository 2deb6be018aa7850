//go:build !scgid_otherstate

package master

// stateFormat is the version of State. It changes with everything that a
// program of another version would misread; fields that a program does not
// know are an error, so an added one is refused by older programs by itself.
const stateFormat = "2"
