//! In charge of a connection's pace: what is silent between requests, dawdles over a request's head, or
//! takes nothing of its answer, is closed. hyper bounds the head only, and begins to count when the
//! connection is idle already.

use futures_util::task::AtomicWaker;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two requests.
    pub idle: Duration,
    /// From the first byte of a request's head to its last.
    pub head: Duration,
    /// Without a byte of the answer being taken.
    pub stall: Duration,
}

/// What a connection is at: counted up when a request has come and again when its answer is done, so
/// that an odd number means a request under way. A body that stalls is bounded where it is read.
#[derive(Clone, Default)]
pub struct Turn(Arc<State>);

#[derive(Default)]
struct State {
    turn: AtomicU64,
    /// Who waits to read. hyper doesn't read again what it knows to be silent, and no clock would run.
    reader: AtomicWaker,
}

/// A request under way; over when it is dropped.
pub struct Busy(Arc<State>);

impl Turn {
    pub fn begin(&self) -> Busy {
        self.0.turn.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(&self.0))
    }

    fn now(&self) -> u64 {
        self.0.turn.load(Ordering::Acquire)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.turn.fetch_add(1, Ordering::AcqRel);
        self.0.reader.wake();
    }
}

pub struct Paced<T> {
    inner: T,
    pace: Pace,
    turn: Turn,
    /// The turn that `reading` counts for, and whether its head has begun.
    seen: u64,
    has_begun: bool,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<T> Paced<T> {
    pub fn new(inner: T, pace: Pace, turn: Turn) -> Self {
        Paced { inner, pace, turn, seen: 0, has_begun: false, reading: None, writing: None }
    }

    /// Whichever way it is written: when it has to wait, the clock runs.
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if outcome.is_ready() {
            self.writing = None;
            return outcome;
        }
        let stall = self.pace.stall;
        let clock = self.writing.get_or_insert_with(|| Box::pin(sleep(stall)));
        clock.as_mut().poll(cx).map(|()| Err(too_slow("nothing of the answer was taken in time")))
    }
}

fn too_slow(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.inner).poll_read(cx, buffer);
        this.turn.0.reader.register(cx.waker());
        let turn = this.turn.now();
        if turn != this.seen {
            (this.seen, this.has_begun, this.reading) = (turn, false, None);
        }
        if turn % 2 == 1 {
            return outcome;
        }
        if !this.has_begun && buffer.filled().len() > before {
            this.has_begun = true;
            this.reading = Some(Box::pin(sleep(this.pace.head)));
        }
        if outcome.is_ready() {
            return outcome;
        }
        let idle = this.pace.idle;
        let clock = this.reading.get_or_insert_with(|| Box::pin(sleep(idle)));
        clock.as_mut().poll(cx).map(|()| Err(too_slow("no request came in time")))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.written(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.written(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    const PACE: Pace = Pace {
        idle: Duration::from_secs(60),
        head: Duration::from_secs(10),
        stall: Duration::from_secs(30),
    };

    async fn seconds<R>(wait: impl Future<Output = io::Result<R>>) -> u64 {
        let start = Instant::now();
        let error = wait.await.err().expect("no time-out");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_a_slow_head_and_a_request_under_way_have_their_own_bounds() {
        let (mut far, near) = duplex(64);
        let turn = Turn::default();
        let mut paced = Paced::new(near, PACE, turn.clone());
        let mut byte = [0];
        assert_eq!(seconds(paced.read_exact(&mut byte)).await, 60);

        let (mut far2, near) = duplex(64);
        std::mem::swap(&mut far, &mut far2);
        let mut paced = Paced::new(near, PACE, turn.clone());
        // Ever so little at a time doesn't stretch it.
        let dripping = tokio::spawn(async move {
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        });
        let mut head = [0; 64];
        assert_eq!(seconds(paced.read_exact(&mut head)).await, 10);
        dripping.abort();

        let (mut far, near) = duplex(64);
        let mut paced = Paced::new(near, PACE, turn.clone());
        far.write_all(b"x").await.unwrap();
        paced.read_exact(&mut byte).await.unwrap();
        let busy = turn.begin();
        let waiting = tokio::time::timeout(Duration::from_secs(3600), paced.read_exact(&mut byte));
        assert!(waiting.await.is_err(), "a request under way may take as long as it likes");
        drop(busy);
        assert_eq!(seconds(paced.read_exact(&mut byte)).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_cut_off_and_a_slow_one_is_not() {
        let (mut far, near) = duplex(64);
        let mut paced = Paced::new(near, PACE, Turn::default());
        let reading = tokio::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                far.read_exact(&mut [0; 64]).await.unwrap();
            }
            far
        });
        paced.write_all(&[0; 640]).await.unwrap();
        let _far = reading.await.unwrap();
        paced.write_all(&[0; 64]).await.unwrap();
        assert_eq!(seconds(paced.write_all(&[0; 1])).await, 30);
    }
}
