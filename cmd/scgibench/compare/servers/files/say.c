#include <stdio.h>

int main(void)
{
	return fputs("Content-Type: text/plain\r\nContent-Length: 20\r\n\r\nHello from scgibench", stdout) < 0;
}
