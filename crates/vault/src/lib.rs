//! The storage engine: chunks, packs, block maps, points, keys
