//! A file that is locked for as long as its owner lives.

use std::fs::File;
use std::io;
use std::ops::Deref;

/// The lock of an open file, which one process holds at a time and the next has once that dies.
///
/// Dropped, it is given up at once. Closing the file alone would not do that: a program that another thread is just
/// starting has a copy of the open file until it executes, and the lock lasts as long as the last copy.
#[derive(Debug)]
pub struct Hold(File);

impl Hold {
    /// Locks it, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if somebody else holds it.
    pub fn of(file: File) -> io::Result<Self> {
        file.try_lock()?;
        Ok(Self(file))
    }
}

impl Deref for Hold {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = self.0.unlock(); // closing comes next, and does the same if nobody has a copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_open_file_does_not_keep_the_lock() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let open = || File::open(file.path()).expect("it is there");
        let held = Hold::of(open()).expect("nobody has it");
        let copy = held.try_clone().expect("as a child has it that has not executed yet");
        assert_eq!(Hold::of(open()).expect_err("it is held").kind(), io::ErrorKind::WouldBlock);
        drop(held);
        Hold::of(open()).expect("it was given up");
        drop(copy);
    }
}
