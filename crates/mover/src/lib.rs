//! The loops that move blocks between machines and vaults
