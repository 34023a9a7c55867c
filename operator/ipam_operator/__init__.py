"""DotMac IPAM Operator: IP address management on Kubernetes, refereed by PostgreSQL."""

__version__ = "0.1.0"
