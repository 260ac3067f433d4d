//! In charge of one open feed, with as little memory and time as can be: the client's shouldn't hide the gateway's.

use futures_util::{StreamExt, TryStreamExt, stream};
use memchr::{memchr, memrchr};
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::Fault;

/// The head and what came with it are far below this.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Connections that are opened at once.
const OPENING_MAX: usize = 32;

pub async fn open_many(address: &str, count: usize) -> Result<Vec<Feed>, Fault> {
    let path = "/v1/changes?feed=ndjson&tables=lively&since=now&heartbeat_ms=600000";
    let opening = stream::iter(0..count).map(|_| Feed::open(address, path));
    opening.buffer_unordered(OPENING_MAX).try_collect().await
}

pub struct Feed {
    stream: TcpStream,
    /// What was read and isn't a whole line yet.
    rest: Vec<u8>,
}

impl Feed {
    /// An open feed of which the first line has come: it listens.
    async fn open(address: &str, path: &str) -> Result<Feed, Fault> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut feed = Feed { stream, rest: Vec::new() };
        let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        feed.stream.write_all(head.as_bytes()).await?;
        while !feed.rest.ends_with(b"}\n\r\n") {
            if feed.rest.len() > HEAD_BYTES_MAX {
                return Err(format!("{path}: {HEAD_BYTES_MAX} bytes and no line").into());
            }
            let mut buffer = [0; 1024];
            let read = feed.stream.read(&mut buffer).await?;
            let read = buffer.get(..read).unwrap_or_default();
            feed.rest.extend_from_slice(read);
            if read.is_empty() || !feed.rest.starts_with(b"HTTP/1.1 200 ") {
                return Err(format!("{path}: {}", String::from_utf8_lossy(&feed.rest)).into());
            }
        }
        feed.rest = Vec::new();
        Ok(feed)
    }

    /// Gives what was read to `see` as far as its lines are whole; a line ends in `}\n`, the head of a chunk in `\r\n`, so
    /// chunks needn't be taken apart. Returns when the connection ends.
    pub async fn lines(&mut self, mut see: impl FnMut(&[u8])) -> Result<(), Fault> {
        loop {
            let more = poll_fn(|context| {
                // Of the stack only while there is something: ten thousand buffers would be memory of their own.
                let mut space = [MaybeUninit::uninit(); 16 * 1024];
                let mut buffer = ReadBuf::uninit(&mut space);
                ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
                take(&mut self.rest, buffer.filled(), &mut see);
                Poll::Ready(std::io::Result::Ok(!buffer.filled().is_empty()))
            });
            if !more.await? {
                return Err("the feed broke off".into());
            }
        }
    }
}

fn take(rest: &mut Vec<u8>, read: &[u8], see: &mut impl FnMut(&[u8])) {
    let whole = memrchr(b'\n', read).map_or(0, |end| end + 1);
    let (mut lines, after) = read.split_at(whole);
    if !rest.is_empty()
        && let Some(end) = memchr(b'\n', lines)
    {
        let (line, others) = lines.split_at(end + 1);
        rest.extend_from_slice(line);
        see(rest);
        rest.clear();
        lines = others;
    }
    if !lines.is_empty() {
        see(lines);
    }
    rest.extend_from_slice(after);
}
