//! Frames: a length, and for a request its header, for an answer the number of the request.

use std::{
    io::{self, Cursor, Read, Write},
    net::TcpStream,
    thread,
};

use fluvio_protocol::{
    Decoder, Encoder, Version,
    api::{Request, RequestHeader},
    bytes::{Buf, BufMut},
    link::versions::{ApiVersionKey, PlatformVersion},
};

use crate::Connection;

/// Of the server that goes with client 0.50.1.
const PLATFORM_VERSION: &str = "0.18.1";
const FRAME_BYTES_MAX: i32 = 1 << 28;

/// A request whose body is still bytes.
pub(crate) struct Incoming {
    pub header: RequestHeader,
    body: Cursor<Vec<u8>>,
}

impl Incoming {
    /// The next request, or `None` when the client has gone.
    pub fn read(stream: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut length = [0; 4];
        match stream.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let length = i32::from_be_bytes(length);
        if !(0..=FRAME_BYTES_MAX).contains(&length) {
            return Err(io::Error::other(format!("a frame of {length} bytes")));
        }
        let mut frame = vec![0; length as usize];
        stream.read_exact(&mut frame)?;
        let mut body = Cursor::new(frame);
        let header = RequestHeader::decode_from(&mut body, 0)?;
        Ok(Some(Self { header, body }))
    }

    pub fn decode<R: Request + Default>(&mut self) -> io::Result<R> {
        R::decode_from(&mut self.body, self.header.api_version())
    }
}

impl Connection {
    /// Answers a request.
    pub(crate) fn answer(&self, header: &RequestHeader, answer: &impl Encoder) -> io::Result<()> {
        let delay = self.shared.state().delay;
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        let mut frame = vec![0; 4];
        header.correlation_id().encode(&mut frame, 0)?;
        answer.encode(&mut frame, header.api_version())?;
        let length = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let mut stream = self.stream.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        stream.write_all(&frame)
    }
}

/// That requests of this kind are understood.
pub(crate) fn takes<R: Request>() -> ApiVersionKey {
    ApiVersionKey {
        api_key: R::API_KEY as i16,
        min_version: R::MIN_API_VERSION,
        max_version: R::MAX_API_VERSION,
    }
}

pub(crate) fn platform_version() -> io::Result<PlatformVersion> {
    let mut encoded = Vec::new();
    PLATFORM_VERSION.to_owned().encode(&mut encoded, 0)?;
    PlatformVersion::decode_from(&mut Cursor::new(encoded), 0)
}

/// Stored bytes as they are, wherever they end: what the protocol crates cannot express, since
/// they write whole batches.
#[derive(Debug, Default)]
pub(crate) struct Slice(pub Vec<u8>);

impl Encoder for Slice {
    fn write_size(&self, _: Version) -> usize {
        4 + self.0.len()
    }

    fn encode<T: BufMut>(&self, into: &mut T, version: Version) -> io::Result<()> {
        (self.0.len() as i32).encode(into, version)?;
        into.put_slice(&self.0);
        Ok(())
    }
}

impl Decoder for Slice {
    fn decode<T: Buf>(&mut self, _: &mut T, _: Version) -> io::Result<()> {
        Err(io::Error::other("slices are only written"))
    }
}
