//! tonic's codec for protobuf, with another code for a message that cannot be decoded:
//! INVALID_ARGUMENT, since whoever sent it is wrong, where tonic says INTERNAL. The text names
//! the field.

use std::marker::PhantomData;

use tonic::codec::{BufferSettings, Codec as TonicCodec, DecodeBuf, Decoder as TonicDecoder};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// Encodes `T` and decodes `U`.
#[derive(Clone, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> TonicCodec for Codec<T, U>
where
    T: Send + 'static,
    U: Send + 'static,
    ProstCodec<T, U>: TonicCodec<Encode = T, Decode = U>,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as TonicCodec>::Encoder;
    type Decoder = Decoder<<ProstCodec<T, U> as TonicCodec>::Decoder>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Decoder(ProstCodec::default().decoder())
    }
}

/// Decodes what the inner one decodes, and blames the sender where it cannot.
#[derive(Clone, Debug)]
pub struct Decoder<D>(D);

impl<D: TonicDecoder<Error = Status>> TonicDecoder for Decoder<D> {
    type Item = D::Item;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D::Item>, Status> {
        self.0.decode(buffer).map_err(|error| match error.code() {
            Code::Internal => Status::invalid_argument(error.message()),
            _ => error,
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
