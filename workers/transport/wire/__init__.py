"""HTTP/2 as a client of APNs needs it: requests in, bytes out; bytes in, events out. No socket, no clock, no thread."""
