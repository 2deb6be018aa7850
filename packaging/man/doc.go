// Package man holds the manual pages, in mdoc(7).
//
// Its promise is that they tell what the programs do: its tests compare the
// flags in each page with what the program's --help shows, the example in
// scgid-worker(7) with the worker that other tests run, and the names in
// org.scgid1(5) with the tables of package control and package bus. Whoever changes a flag, a
// status or a message owns the page that names it. The package has no code, and
// the programs never read these files. The keys in scgid.conf(5) are rendered by
// master/config, which owns them.
package man
