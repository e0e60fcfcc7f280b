"""edgenode: signed WebAssembly jobs on the sensor data of a gateway, and small, provable answers back."""

# A plain text, not importlib.metadata: every worker imports this package, and that would cost each of them 5 MB.
__version__ = "0.1.0"
