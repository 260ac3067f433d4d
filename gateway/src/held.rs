//! In charge of bodies that hold something until they have been sent or are given up, for instance a place
//! among the requests under way.

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub struct Held<H> {
    body: Body,
    held: Arc<H>,
    /// A compressor asks once more after the end, which not every stream takes.
    is_over: bool,
}

/// hyper drops a body when it has taken its last bytes; those are dropped when they have been sent.
struct Chunk<H> {
    bytes: Bytes,
    _held: Arc<H>,
}

impl<H> AsRef<[u8]> for Chunk<H> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<H> Held<H> {
    pub fn new(body: Body, held: H) -> Self {
        Held { body, held: Arc::new(held), is_over: false }
    }
}

impl<H: Send + Sync + 'static> HttpBody for Held<H> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.is_over = matches!(frame, Poll::Ready(None | Some(Err(_))));
        frame.map_ok(|frame| {
            let _held = Arc::clone(&self.held);
            frame.map_data(|bytes| Bytes::from_owner(Chunk { bytes, _held }))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
