#!/bin/sh
# A program of an application that somebody has broken into: it tries every
# verb on the pool that the query names, with its name on the bus; for a pool of
# a user's own also its control socket and the bus.
printf 'Content-Type: text/plain\r\n\r\n'
IFS='&'
set -- $QUERY_STRING
if [ "$3" ]; then
	export TRY_SOCKET="$3" TRY_BUS="$4" XDG_RUNTIME_DIR="${3%/scgid/*}"
	exec /srv/scgid-test/try-verbs "$1" "$2"
fi
exec /srv/scgid-test/try-verbs "$1" "$2" socket bus
