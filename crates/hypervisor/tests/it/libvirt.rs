//! What is particular to machines of libvirt.
