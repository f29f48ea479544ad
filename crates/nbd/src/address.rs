//! Where a server listens, and the byte streams to and from it.

use std::fmt;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, BufWriter};
use tokio::net::{TcpStream, UnixStream};

/// Small messages are received gathered up to this many bytes; longer payloads go straight between the socket
/// and their own buffer, so a larger one would only mean more copying.
const RECEIVED_BYTES: usize = 4 << 10;
/// Messages are sent gathered up to this many bytes: all the answers to a connection's reads of a page.
const SENT_BYTES: usize = 72 << 10;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket's path.
    Unix(PathBuf),
    /// Host and port, as in `backup.example:10809` or `[::1]:10809`.
    Tcp(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(host) => write!(f, "tcp:{host}"),
        }
    }
}

/// The receiving half of a connection.
pub(crate) type Reader = BufReader<Box<dyn AsyncRead + Send + Unpin>>;
/// The sending half of a connection.
pub(crate) type Writer = BufWriter<Box<dyn AsyncWrite + Send + Unpin>>;

/// Connects and splits, so that both directions can be busy at once.
pub(crate) async fn connect(address: &Address) -> std::io::Result<(Reader, Writer)> {
    match address {
        Address::Unix(path) => Ok(split_unix(UnixStream::connect(path).await?)),
        Address::Tcp(host) => split_tcp(TcpStream::connect(host).await?),
    }
}

pub(crate) fn split_unix(stream: UnixStream) -> (Reader, Writer) {
    let (reader, writer) = stream.into_split();
    halves(Box::new(reader), Box::new(writer))
}

pub(crate) fn split_tcp(stream: TcpStream) -> std::io::Result<(Reader, Writer)> {
    // Messages are gathered here already; waiting for more of them in the kernel only adds latency.
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    Ok(halves(Box::new(reader), Box::new(writer)))
}

fn halves(
    reader: Box<dyn AsyncRead + Send + Unpin>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
) -> (Reader, Writer) {
    (BufReader::with_capacity(RECEIVED_BYTES, reader), BufWriter::with_capacity(SENT_BYTES, writer))
}
