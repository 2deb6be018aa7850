#!/usr/bin/python3 -IS
import sys

sys.stdout.write("Content-Type: text/plain\r\nContent-Length: 20\r\n\r\nHello from scgibench")
