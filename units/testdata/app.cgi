#!/bin/sh
# A CGI program for the tests: it says who answered what. Its parent is a
# worker. A POST is answered with the checksum of its body.
who=$PPID
[ "$REQUEST_METHOD" = POST ] && who=$(sha256sum | cut -d ' ' -f 1)
printf 'Content-Type: text/plain\r\n\r\n%s %s' "$who" "$QUERY_STRING"
