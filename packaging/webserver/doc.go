// Package webserver holds the examples that administrators get for the web
// servers in front of scgid: nginx, Apache and lighttpd.
//
// Its promise is that they work as shipped: its tests put them, with only
// addresses and paths replaced, into real servers of each kind and run whole
// applications behind them. Whoever changes an example or what scgid expects of
// a web server owns those tests too. It has no code, and scgid never reads these
// files.
package webserver
