//! The meter as `h2` sees it: a byte stream.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ClosedBy, Closing, ErrorCode, Meter};

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Meter<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !this.ready.is_empty() {
            this.deliver(buf);
            return Poll::Ready(Ok(()));
        }
        let polled = this.poll_receive(cx, buf);
        if polled.is_pending() {
            this.turn = 0;
            this.wait_to_read(cx);
            // a request may have come between the look and the waker
            if this.shared.asked.load(Relaxed) || this.is_cut() {
                cx.waker().wake_by_ref();
            }
        }
        polled
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Meter<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_cut() {
            return Poll::Ready(Err(this.cut_error()));
        }
        if matches!(this.closing, Closing::Writing | Closing::Done) {
            let _ = this.poll_closing(cx);
            return Poll::Ready(Ok(()));
        }
        if this.deaf.is_none() {
            let flushed = match ready!(this.poll_own(cx)) {
                Ok(()) => ready!(this.poll_inner_flush(cx)),
                failed => failed,
            };
            if let Err(error) = flushed {
                this.write_failed(error);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is left and the end, then lingers: see [`MeterConfig::linger`].
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.shut {
            if this.is_cut() || this.deaf.is_some() {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_own(cx))?;
            match Pin::new(&mut this.io).poll_shutdown(cx) {
                Poll::Pending => {
                    this.wait_to_write(cx);
                    return Poll::Pending;
                }
                Poll::Ready(done) => done?,
            }
            this.shut = true;
            this.shared.stall.clear();
            this.shared.block.clear();
            this.shared.handshake.clear();
            if this.shared.lock().reason.is_none() {
                let text = this.shared.lock().goaway_text.clone();
                let text = if text.is_empty() { "no longer needed".to_owned() } else { text };
                this.shared.blame(ClosedBy::Us, ErrorCode::NO_ERROR, text);
            }
            this.shared.closing.set_in(this.shared.now(), this.rules.config.linger);
        }
        if this.linger && !this.ended {
            ready!(this.poll_linger(cx));
        }
        this.shared.closing.clear();
        Poll::Ready(Ok(()))
    }
}
