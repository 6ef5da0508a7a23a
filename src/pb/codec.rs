//! The codec of the services. A message that cannot be decoded answers INVALID_ARGUMENT,
//! since whoever sent it is wrong, where tonic says INTERNAL; the text names the field. So does
//! a request with more in it than it may have, which is not decoded: see [`preflight`]. And
//! a message may stay encoded: see [`Encoded`].

use std::fmt;
use std::marker::PhantomData;

use bytes::{Buf as _, BufMut as _, Bytes};
use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{Codec as TonicCodec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::preflight;

/// A message `M` as it travels. Who makes or reads thousands of entries in a message does it
/// straight from and to the domain's types, without `M` in between.
pub struct Encoded<M> {
    bytes: Bytes,
    message: PhantomData<fn() -> M>,
}

impl<M> Encoded<M> {
    /// Takes bytes that are such a message.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self {
            bytes,
            message: PhantomData,
        }
    }

    /// The bytes, which may come from anybody and be anything.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl<M: Message> From<&M> for Encoded<M> {
    fn from(message: &M) -> Self {
        Self::from_bytes(message.encode_to_vec().into())
    }
}

impl<M> fmt::Debug for Encoded<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({} bytes)", self.bytes.len())
    }
}

/// What a call carries.
pub trait Payload: Send + Sized + 'static {
    /// Appends it.
    fn put(self, buffer: &mut EncodeBuf<'_>) -> Result<(), Status>;

    /// Reads it from all that is left.
    fn take(buffer: &mut DecodeBuf<'_>) -> Result<Self, Status>;
}

impl<M: Message + Name + Default + 'static> Payload for M {
    fn put(self, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        self.encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }

    fn take(buffer: &mut DecodeBuf<'_>) -> Result<Self, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        preflight::check(M::PACKAGE, M::NAME, &bytes)
            .map_err(|refusal| Status::invalid_argument(refusal.to_string()))?;
        Self::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

impl<M: Message + 'static> Payload for Encoded<M> {
    fn put(self, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(self.bytes.len());
        buffer.put(self.bytes);
        Ok(())
    }

    fn take(buffer: &mut DecodeBuf<'_>) -> Result<Self, Status> {
        let length = buffer.remaining();
        Ok(Self::from_bytes(buffer.copy_to_bytes(length)))
    }
}

/// Encodes `T` and decodes `U`.
#[derive(Clone, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Payload, U: Payload> TonicCodec for Codec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = One<T>;
    type Decoder = One<U>;

    fn encoder(&mut self) -> Self::Encoder {
        One(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        One(PhantomData)
    }
}

/// One direction of a [`Codec`].
#[derive(Clone, Debug)]
pub struct One<T>(PhantomData<T>);

impl<T: Payload> Encoder for One<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.put(buffer)
    }
}

impl<T: Payload> Decoder for One<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        T::take(buffer).map(Some)
    }
}
