#!/bin/sh
# A program of an application that somebody has broken into: it tries every
# verb on the pool that the query names, with its name on the bus.
printf 'Content-Type: text/plain\r\n\r\n'
IFS='&'
set -- $QUERY_STRING
exec /srv/scgid-test/try-verbs "$1" "$2" socket bus
