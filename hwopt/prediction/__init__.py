"""What a kernel or a network will take on a device, from what was measured there."""
