//! The messages of one direction of a call: bytes to messages and back, with limits and coding.

use bytes::{Bytes, BytesMut};

use crate::compression::{self, Encoding};
use crate::frame::{Deframer, FrameBytes, PREFIX_BYTES};
use crate::status::{Code, Status};

/// Messages coming in.
#[derive(Debug)]
pub(super) struct Inbound {
    frames: Deframer,
    /// `None`: the peer named a coding we do not know.
    coding: Option<Encoding>,
}

impl Inbound {
    pub(super) fn new(coding: Option<Encoding>, max_message_bytes: usize) -> Inbound {
        Inbound { frames: Deframer::new(max_message_bytes), coding }
    }

    pub(super) fn set_coding(&mut self, coding: Option<Encoding>) {
        self.coding = coding;
    }

    pub(super) fn push(&mut self, data: Bytes) {
        self.frames.push(data);
    }

    /// Drops what was not read.
    pub(super) fn clear(&mut self) {
        self.frames = Deframer::new(self.frames.max_message_bytes());
    }

    pub(super) fn is_mid_message(&self) -> bool {
        self.frames.is_mid_frame()
    }

    /// The next whole message, decompressed.
    pub(super) fn poll(&mut self) -> Result<Option<Bytes>, Status> {
        match self.frames.poll_frame()? {
            None => Ok(None),
            Some(frame) if !frame.compressed => Ok(Some(frame.payload)),
            Some(frame) => match self.coding {
                Some(Encoding::Identity) => {
                    Err(Status::new(Code::Internal, "compressed message without a grpc-encoding"))
                }
                None => Err(Status::new(
                    Code::Internal,
                    "compressed message in an unknown grpc-encoding",
                )),
                Some(encoding) => Ok(Some(compression::decompress(
                    encoding,
                    &frame.payload,
                    self.frames.max_message_bytes(),
                )?)),
            },
        }
    }
}

/// Messages going out.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) encoding: Encoding,
    max_message_bytes: usize,
    /// Exactly one message goes this way.
    single: bool,
    pub(super) any_sent: bool,
}

impl Outbound {
    pub(super) fn new(encoding: Encoding, max_message_bytes: usize, single: bool) -> Outbound {
        Outbound { encoding, max_message_bytes, single, any_sent: false }
    }

    /// Puts a message into its frame. An empty message is never compressed: some peers refuse it.
    pub(super) fn encode(&mut self, message: Bytes, compress: bool) -> Result<FrameBytes, Status> {
        self.admit(message.len())?;
        let frame = if compress && self.encoding != Encoding::Identity && !message.is_empty() {
            let coded = compression::compress(self.encoding, &message)?;
            if coded.len() > u32::MAX as usize {
                return Err(over_limit(coded.len(), u32::MAX as usize));
            }
            FrameBytes::new(true, coded)
        } else {
            FrameBytes::new(false, message)
        };
        self.any_sent = true;
        Ok(frame)
    }

    /// The same for a message written behind five free bytes; not copied unless it is compressed.
    pub(super) fn encode_in_place(
        &mut self,
        framed: BytesMut,
        compress: bool,
    ) -> Result<FrameBytes, Status> {
        let length = framed.len().saturating_sub(PREFIX_BYTES);
        if compress && self.encoding != Encoding::Identity && length > 0 {
            return self.encode(framed.freeze().slice(PREFIX_BYTES..), true);
        }
        self.admit(length)?;
        self.any_sent = true;
        Ok(FrameBytes::in_place(framed))
    }

    fn admit(&self, length: usize) -> Result<(), Status> {
        let limit = self.max_message_bytes.min(u32::MAX as usize);
        if length > limit {
            return Err(over_limit(length, limit));
        }
        if self.single && self.any_sent {
            return Err(Status::new(
                Code::Internal,
                "this kind of method sends exactly one message",
            ));
        }
        Ok(())
    }
}

#[cold]
fn over_limit(length: usize, limit: usize) -> Status {
    Status::new(
        Code::ResourceExhausted,
        format!("message of {length} bytes is over the send limit of {limit} bytes"),
    )
}
