//! Many entries read by their keys, with one system call for a datagram of questions.

use super::decode::{self, messages};
use super::error::{DecodeError, Error, KernelError};
use super::socket::Socket;
use super::uapi::netlink::NLMSG_ERROR;
use super::{Namespace, encode};
use crate::flow::{Expectation, ExpectationKey, Flow, FlowKey};

/// Questions in a datagram.
const QUESTIONS: usize = 128;

/// Room for an answer and an acknowledgement to each question.
const RECEIVE_BUFFER: usize = 1024 * 1024;

/// What became of a question.
pub type Found<T> = Result<T, KernelError>;

/// A connection to the kernel for reading entries by their keys.
///
/// Gives what the kernel finds, which may be another entry than the key names: see
/// [`FlowKey::names`] and [`ExpectationKey::names`].
#[derive(Debug)]
pub struct Lookup {
    socket: Socket,
    questions: Vec<u8>,
    answers: Vec<u8>,
    /// The sequence number of the next question.
    sequence: u32,
}

impl Lookup {
    /// How many keys go to the kernel at once.
    pub const BATCH: usize = QUESTIONS;

    /// Opens a connection.
    pub fn open(namespace: &Namespace) -> Result<Self, Error> {
        let socket = Socket::open(namespace)?;
        socket.set_receive_buffer(RECEIVE_BUFFER)?;
        Ok(Self {
            socket,
            questions: Vec::new(),
            answers: Vec::new(),
            sequence: 1,
        })
    }

    /// Reads flows; one answer for each key, in their order.
    pub fn flows(&mut self, keys: &[FlowKey]) -> Result<Vec<Found<Flow>>, Error> {
        self.read(keys, encode::get_flow, decode::flow)
    }

    /// Reads expectations; one answer for each key, in their order.
    pub fn expectations(
        &mut self,
        keys: &[ExpectationKey],
    ) -> Result<Vec<Found<Expectation>>, Error> {
        self.read(keys, encode::get_expectation, decode::expectation)
    }

    fn read<K, T>(
        &mut self,
        keys: &[K],
        encode: impl Fn(&mut Vec<u8>, u32, &K) -> Result<(), Error>,
        decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Vec<Found<T>>, Error> {
        let mut found = Vec::with_capacity(keys.len());
        for part in keys.chunks(QUESTIONS) {
            self.exchange(part, &encode, &decode, &mut found)?;
        }
        Ok(found)
    }

    fn exchange<K, T>(
        &mut self,
        keys: &[K],
        encode: impl Fn(&mut Vec<u8>, u32, &K) -> Result<(), Error>,
        decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
        found: &mut Vec<Found<T>>,
    ) -> Result<(), Error> {
        let first = self.sequence;
        self.questions.clear();
        for key in keys {
            encode(&mut self.questions, self.sequence, key)?;
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.socket.send(&self.questions)?;
        // Each question is answered with the entry and an acknowledgement, or an error.
        let mut entry = None;
        let mut answered = 0;
        while answered < keys.len() {
            self.socket.receive(&mut self.answers)?;
            for message in messages(&self.answers) {
                let message = message?;
                if message.sequence.wrapping_sub(first) as usize != answered {
                    continue;
                }
                if message.kind != NLMSG_ERROR {
                    entry = Some(decode(message.netfilter()?.1)?);
                    continue;
                }
                let error = KernelError::parse(message.flags, message.payload)?;
                let missing = || DecodeError::missing("the entry before its acknowledgement");
                found.push(match (entry.take(), error) {
                    (_, Some(error)) => Err(error),
                    (Some(entry), None) => Ok(entry),
                    (None, None) => return Err(missing().into()),
                });
                answered += 1;
            }
        }
        Ok(())
    }
}
