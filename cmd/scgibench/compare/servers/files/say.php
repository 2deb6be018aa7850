<?php
header("Content-Type: text/plain");
header("Content-Length: 20");
echo "Hello from scgibench";
