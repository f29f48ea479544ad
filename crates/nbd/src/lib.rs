//! Network Block Device: wire codec, client and server
