#!/bin/sh
printf 'Content-Type: text/plain\r\nContent-Length: 20\r\n\r\nHello from scgibench'
