"""Address arithmetic for IPv4 and IPv6, without I/O."""
