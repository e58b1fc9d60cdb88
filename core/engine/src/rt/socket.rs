//! TCP and unix sockets as [`Io`](super::Io), and their listeners.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mio::event::Source;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::reactor::{Direction, Readiness, Sources};
use super::{AcceptedIo, Address, BoxIo, Listen, SocketOptions};

/// The most one read takes from a socket.
const SCRATCH: usize = 64 * 1024;

thread_local! {
    /// Reads land here first: one warm, initialised buffer a thread, instead of clearing the reader's on every read.
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// What the two kinds of stream share.
pub trait Stream: Source + AsRawFd + Send + Unpin + 'static {
    /// `read(2)`.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// `writev(2)`.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    /// `shutdown(2)` of the writing side.
    fn shutdown_write(&self) -> io::Result<()>;
}

macro_rules! stream {
    ($type:ty) => {
        impl Stream for $type {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                Read::read(self, buffer)
            }
            fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
                Write::write_vectored(self, parts)
            }
            fn shutdown_write(&self) -> io::Result<()> {
                self.shutdown(std::net::Shutdown::Write)
            }
        }
    };
}
stream!(mio::net::TcpStream);
stream!(mio::net::UnixStream);

/// A source that is watched as long as it lives.
struct Watched<S: Source> {
    source: S,
    sources: Arc<Sources>,
    key: usize,
    readiness: Arc<Readiness>,
}

impl<S: Source + AsRawFd> Watched<S> {
    fn new(sources: &Arc<Sources>, mut source: S) -> io::Result<Watched<S>> {
        let (key, readiness) = sources.add(&mut source)?;
        Ok(Watched { source, sources: sources.clone(), key, readiness })
    }
}

impl<S: Source> Drop for Watched<S> {
    fn drop(&mut self) {
        self.sources.remove(self.key, &mut self.source);
    }
}

/// A connected socket.
pub struct Socket<S: Stream>(Watched<S>);

impl<S: Stream> Socket<S> {
    fn new(sources: &Arc<Sources>, stream: S) -> io::Result<Socket<S>> {
        Ok(Socket(Watched::new(sources, stream)?))
    }
}

impl<S: Stream> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut self.0;
        loop {
            ready!(this.readiness.poll_ready(cx, Direction::Read));
            let wanted = buf.remaining().min(SCRATCH);
            let read = READ_BUFFER.with_borrow_mut(|scratch| {
                let read = this.source.read(&mut scratch[..wanted])?;
                buf.put_slice(&scratch[..read]);
                Ok::<usize, io::Error>(read)
            });
            match read {
                Ok(read) => {
                    if read > 0 && read < wanted {
                        // what comes next brings an event of its own, which saves a read that would block
                        this.readiness.emptied();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    this.readiness.clear(Direction::Read)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl<S: Stream> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut self.0;
        loop {
            ready!(this.readiness.poll_ready(cx, Direction::Write));
            match this.source.write_vectored(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    this.readiness.clear(Direction::Write)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.source.shutdown_write() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }
}

fn tune(stream: &mio::net::TcpStream, options: SocketOptions) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    let _ = options;
    Ok(())
}

async fn connected<S: Stream>(
    sources: &Arc<Sources>,
    stream: S,
    check: impl Fn(&S) -> io::Result<bool>,
) -> io::Result<BoxIo> {
    let socket = Socket::new(sources, stream)?;
    std::future::poll_fn(|cx| {
        loop {
            ready!(socket.0.readiness.poll_ready(cx, Direction::Write));
            if check(&socket.0.source)? {
                return Poll::Ready(Ok::<(), io::Error>(()));
            }
            socket.0.readiness.clear(Direction::Write);
        }
    })
    .await?;
    Ok(Box::new(socket))
}

/// Opens a connection to a socket address.
pub async fn connect(
    sources: Arc<Sources>,
    address: Address,
    options: SocketOptions,
) -> io::Result<BoxIo> {
    match address {
        Address::Tcp(address) => {
            let stream = mio::net::TcpStream::connect(address)?;
            connected(&sources, stream, |stream| {
                if let Some(error) = stream.take_error()? {
                    return Err(error);
                }
                match stream.peer_addr() {
                    Ok(_) => tune(stream, options).map(|()| true),
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
                    Err(error) => Err(error),
                }
            })
            .await
        }
        Address::Unix(path) => {
            let stream = mio::net::UnixStream::connect(path)?;
            connected(&sources, stream, |stream| stream.take_error()?.map_or(Ok(true), Err)).await
        }
        #[cfg(target_os = "linux")]
        Address::UnixAbstract(name) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            let stream = mio::net::UnixStream::connect_addr(&address)?;
            connected(&sources, stream, |stream| stream.take_error()?.map_or(Ok(true), Err)).await
        }
        other => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{other} cannot be reached by a socket"),
        )),
    }
}

enum Listening {
    Tcp(Watched<mio::net::TcpListener>),
    Unix(Watched<mio::net::UnixListener>, Option<PathBuf>),
}

/// A socket that accepts connections.
pub struct Listener(Listening);

impl Listener {
    /// Listens on an IP address; port 0 takes a free one. `[::]` takes IPv4 as well where the system allows it.
    pub fn tcp(sources: &Arc<Sources>, address: SocketAddr) -> io::Result<Listener> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            let _ = socket.set_only_v6(false);
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        let listener = mio::net::TcpListener::from_std(socket.into());
        Ok(Listener(Listening::Tcp(Watched::new(sources, listener)?)))
    }

    /// Listens on a unix socket at `path`. A stale socket file nobody listens on is replaced.
    pub fn unix(sources: &Arc<Sources>, path: &Path) -> io::Result<Listener> {
        let listener = match mio::net::UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
                std::fs::remove_file(path)?;
                mio::net::UnixListener::bind(path)?
            }
            bound => bound?,
        };
        Ok(Listener(Listening::Unix(Watched::new(sources, listener)?, Some(path.to_owned()))))
    }

    /// Listens on an address of any kind a socket can have.
    pub fn bind(sources: &Arc<Sources>, address: &Address) -> io::Result<Listener> {
        match address {
            Address::Tcp(address) => Listener::tcp(sources, *address),
            Address::Unix(path) => Listener::unix(sources, path),
            #[cfg(target_os = "linux")]
            Address::UnixAbstract(name) => Listener::unix_abstract(sources, name),
            other => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("no socket listens on {other}"),
            )),
        }
    }

    /// Listens on a name in Linux's abstract name space.
    #[cfg(target_os = "linux")]
    pub fn unix_abstract(sources: &Arc<Sources>, name: &[u8]) -> io::Result<Listener> {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        let listener = mio::net::UnixListener::bind_addr(&address)?;
        Ok(Listener(Listening::Unix(Watched::new(sources, listener)?, None)))
    }
}

impl Listen for Listener {
    fn port(&self) -> Option<u16> {
        match &self.0 {
            Listening::Tcp(listener) => listener.source.local_addr().ok().map(|a| a.port()),
            Listening::Unix(..) => None,
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<AcceptedIo>> {
        loop {
            match &self.0 {
                Listening::Tcp(listener) => {
                    ready!(listener.readiness.poll_ready(cx, Direction::Read));
                    match listener.source.accept() {
                        Ok((stream, peer)) => {
                            tune(&stream, SocketOptions::default())?;
                            let io = Socket::new(&listener.sources, stream)?;
                            let peer = Address::Tcp(SocketAddr::new(
                                peer.ip().to_canonical(),
                                peer.port(),
                            ));
                            return Poll::Ready(Ok(AcceptedIo {
                                io: Box::new(io),
                                peer: peer.to_string(),
                            }));
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            listener.readiness.clear(Direction::Read);
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                Listening::Unix(listener, _) => {
                    ready!(listener.readiness.poll_ready(cx, Direction::Read));
                    match listener.source.accept() {
                        Ok((stream, _)) => {
                            let io = Socket::new(&listener.sources, stream)?;
                            return Poll::Ready(Ok(AcceptedIo {
                                io: Box::new(io),
                                peer: "unix:".to_owned(),
                            }));
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            listener.readiness.clear(Direction::Read);
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listening::Unix(_, Some(path)) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn is_stale(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::metadata(path).is_ok_and(|m| m.file_type().is_socket());
    is_socket && std::os::unix::net::UnixStream::connect(path).is_err()
}
