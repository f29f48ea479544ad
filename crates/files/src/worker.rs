//! The worker process: one socket, no threads, a cage; it answers until the parent is gone.

use crate::cage;
use crate::disk::{self, Cached, Disk};
use crate::session::Session;
use crate::wire::{self, DISKS_MAX, FromReader, PIECE_BYTES_MAX, ToReader};
use crate::{Error, Result};
use std::cell::RefCell;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

/// Runs as the worker that a [`Browser`](crate::Browser) started, until that is gone. The socket to it is the
/// standard input. To be called before the process has other threads.
///
/// # Errors
/// `Worker` if the process was started by somebody else, or the parent talks nonsense.
pub fn answer_caged() -> Result<()> {
    // What a reader says when it gives up is an answer; nobody reads our standard error.
    std::panic::set_hook(Box::new(|_| {}));
    let socket = std::io::stdin().as_fd().try_clone_to_owned();
    let socket = socket.map_err(|error| Error::not_answered(format!("find the socket: {error}")))?;
    let parent = Parent(Rc::new(RefCell::new(UnixStream::from(socket))));
    let (ToReader::Hello { disks, limits }, _) = parent.receive()? else {
        return Err(Error::not_answered("the first message is no greeting"));
    };
    if disks.len() > DISKS_MAX {
        return Err(Error::limit(format!("more than {DISKS_MAX} disks")));
    }
    let open = cage::close(limits)?;
    parent.send(&FromReader::Ready(open), &[])?;
    let remote = |(index, (name, size)): (u32, (String, u64))| {
        let disk: Rc<dyn Disk> = Rc::new(Cached::new(Remote { parent: parent.clone(), index, size }));
        (name, disk)
    };
    let mut session = Session::new((0..).zip(disks).map(remote).collect());
    loop {
        let (ToReader::Ask(question), _) = parent.receive()? else {
            return Err(Error::not_answered("a message that is no question"));
        };
        let (answer, data) = session.answer(&question);
        parent.send(&FromReader::Answer(answer.map_err(Error::cleaned)), &data)?;
    }
}

/// The socket, shared by the disks: one of them waits for bytes at a time.
#[derive(Clone)]
struct Parent(Rc<RefCell<UnixStream>>);

impl Parent {
    fn send(&self, message: &FromReader, data: &[u8]) -> Result<()> {
        wire::send(&mut *self.0.borrow_mut(), message, data)
    }

    fn receive(&self) -> Result<(ToReader, Vec<u8>)> {
        wire::receive(&mut *self.0.borrow_mut())
    }
}

/// A disk whose bytes the parent has.
struct Remote {
    parent: Parent,
    index: u32,
    size: u64,
}

impl Disk for Remote {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        disk::check(self.size, offset, buffer.len())?;
        for (offset, part) in (offset..).step_by(PIECE_BYTES_MAX).zip(buffer.chunks_mut(PIECE_BYTES_MAX)) {
            let fetch = FromReader::Fetch { disk: self.index, offset, length: part.len() as u32 };
            self.parent.send(&fetch, &[])?;
            let (ToReader::Bytes(had), data) = self.parent.receive()? else {
                return Err(Error::not_answered("a message that brings no bytes"));
            };
            had?;
            if data.len() != part.len() {
                return Err(Error::not_answered("fewer bytes than were asked for"));
            }
            part.copy_from_slice(&data);
        }
        Ok(())
    }
}
