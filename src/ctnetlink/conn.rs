//! Short questions and answers from asynchronous code, over netlink-proto.

use std::time::Duration;

use futures::StreamExt as _;
use netlink_packet_core::{
    DecodeError as PacketError, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_proto::{ConnectionHandle, NetlinkCodec, from_socket_with_codec};
use netlink_sys::{SocketAddr, TokioSocket};

use super::decode::{self, messages};
use super::error::{DecodeError, Error, KernelError};
use super::socket::Socket;
use super::{CreateMode, Namespace, TableSize, encode};
use crate::flow::{
    Expectation, ExpectationKey, ExpectationStats, Family, Flow, FlowChanges, FlowKey, FlowStats,
    PerCpu,
};

/// How long an answer may take; see the same limit in `socket`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to the kernel; clones share it.
#[derive(Clone, Debug)]
pub struct Conn {
    handle: ConnectionHandle<Raw>,
}

impl Conn {
    /// Opens a connection. Must be called inside a tokio runtime.
    pub async fn open(namespace: &Namespace) -> Result<Self, Error> {
        let socket = if namespace.is_own() {
            Socket::open_here()?
        } else {
            // Entering another namespace waits for a thread.
            let namespace = namespace.clone();
            tokio::task::spawn_blocking(move || Socket::open(&namespace))
                .await
                .map_err(|_| Error::Closed)??
        };
        let (connection, handle, _unsolicited) =
            from_socket_with_codec::<Raw, TokioSocket, NetlinkCodec>(socket.into_tokio()?);
        // Ends when the last handle is dropped.
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Reads one entry. The kernel does not look at the key's id.
    pub async fn get_flow(&self, key: &FlowKey) -> Result<Flow, Error> {
        self.one("CTA_TUPLE_ORIG", decode::flow, |buffer| {
            encode::get_flow(buffer, 0, key)
        })
        .await
    }

    /// Writes one entry.
    pub async fn create_flow(&self, flow: &Flow, mode: CreateMode) -> Result<(), Error> {
        self.none(|buffer| encode::create_flow(buffer, 0, flow, mode, true))
            .await
    }

    /// Changes the entry that `current` was read from. The kernel finds it by its tuple and
    /// does not compare ids.
    pub async fn update_flow(&self, current: &Flow, changes: &FlowChanges) -> Result<(), Error> {
        self.none(|buffer| encode::update_flow(buffer, 0, current, changes, true))
            .await
    }

    /// Deletes one entry; with an id in the key, only if the entry has it.
    pub async fn delete_flow(&self, key: &FlowKey) -> Result<(), Error> {
        self.none(|buffer| encode::delete_flow(buffer, 0, key, true))
            .await
    }

    /// Deletes every entry, or every entry of a family.
    pub async fn flush_flows(&self, family: Option<Family>) -> Result<(), Error> {
        self.none(|buffer| encode::flush_flows(buffer, 0, family))
            .await
    }

    /// Every processor's counters, in the order of their numbers.
    pub async fn flow_stats(&self) -> Result<Vec<PerCpu<FlowStats>>, Error> {
        self.per_cpu(decode::flow_stats, |buffer| encode::flow_stats(buffer, 0))
            .await
    }

    /// How many entries there are and may be.
    pub async fn table_size(&self) -> Result<TableSize, Error> {
        self.one("CTA_STATS_GLOBAL_ENTRIES", decode::table_size, |buffer| {
            encode::table_size(buffer, 0)
        })
        .await
    }

    /// Reads one expectation; with an id in the key it must fit.
    pub async fn get_expectation(&self, key: &ExpectationKey) -> Result<Expectation, Error> {
        self.one("CTA_EXPECT_TUPLE", decode::expectation, |buffer| {
            encode::get_expectation(buffer, 0, key)
        })
        .await
    }

    /// Writes one expectation.
    pub async fn create_expectation(
        &self,
        expectation: &Expectation,
        mode: CreateMode,
    ) -> Result<(), Error> {
        self.none(|buffer| encode::create_expectation(buffer, 0, expectation, mode, true))
            .await
    }

    /// Deletes one expectation; with an id in the key, only if it has it.
    pub async fn delete_expectation(&self, key: &ExpectationKey) -> Result<(), Error> {
        self.none(|buffer| encode::delete_expectation(buffer, 0, key, true))
            .await
    }

    /// Deletes every expectation.
    pub async fn flush_expectations(&self) -> Result<(), Error> {
        self.none(|buffer| encode::flush_expectations(buffer, 0))
            .await
    }

    /// Every processor's counters of expectations, in the order of their numbers.
    pub async fn expectation_stats(&self) -> Result<Vec<PerCpu<ExpectationStats>>, Error> {
        self.per_cpu(decode::expectation_stats, |buffer| {
            encode::expectation_stats(buffer, 0)
        })
        .await
    }

    /// A request that is answered with one message.
    async fn one<T>(
        &self,
        name: &'static str,
        decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<T, Error> {
        let answers = self.request(encode).await?;
        let answer = answers.first().ok_or_else(|| DecodeError::missing(name))?;
        Ok(decode(answer.netfilter()?.1)?)
    }

    /// A request that is answered with an acknowledgement alone.
    async fn none(
        &self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.request(encode).await.map(drop)
    }

    /// A request that is answered with a message for each processor.
    async fn per_cpu<T>(
        &self,
        decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<Vec<PerCpu<T>>, Error> {
        let answers = self.request(encode).await?;
        let mut cpus = answers
            .iter()
            .map(|answer| {
                // The processor's number stands in nfgenmsg's res_id.
                let (cpu, attributes) = answer.netfilter()?;
                let stats = decode(attributes)?;
                Ok(PerCpu { cpu, stats })
            })
            .collect::<Result<Vec<_>, DecodeError>>()?;
        cpus.sort_by_key(|entry| entry.cpu);
        Ok(cpus)
    }

    async fn request(
        &self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<Vec<Raw>, Error> {
        let mut buffer = Vec::new();
        encode(&mut buffer)?;
        let request = Raw::request(&buffer)?;
        let mut answers = self
            .handle
            .request(request, SocketAddr::new(0, 0))
            .map_err(|_| Error::Closed)?;
        let collect = async {
            let mut collected = Vec::new();
            while let Some(answer) = answers.next().await {
                match answer.payload {
                    NetlinkPayload::InnerMessage(raw) => collected.push(raw),
                    NetlinkPayload::Error(error) => {
                        let mut payload = error.raw_code().to_ne_bytes().to_vec();
                        payload.extend_from_slice(&error.header);
                        if let Some(error) = KernelError::parse(answer.header.flags, &payload)? {
                            return Err(error.into());
                        }
                    }
                    NetlinkPayload::Overrun(_) => return Err(Error::Overrun),
                    _ => {}
                }
            }
            Ok(collected)
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, collect).await {
            Ok(result) => result,
            Err(elapsed) => Err(Error::Io {
                action: "wait for the kernel's answer",
                source: elapsed.into(),
            }),
        }
    }
}

/// A message of ctnetlink as netlink-proto carries it: our own bytes, encoded and decoded
/// by this room. netlink-packet-netfilter types six attributes of a flow and none of an
/// expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Raw {
    kind: u16,
    /// `struct nfgenmsg` and the attributes.
    payload: Vec<u8>,
}

impl Raw {
    /// From the one message that an encoder left in `buffer`. The connection gives it a
    /// sequence number.
    fn request(buffer: &[u8]) -> Result<NetlinkMessage<Self>, Error> {
        let message = messages(buffer)
            .next()
            .ok_or_else(|| DecodeError::truncated("nlmsghdr"))??;
        let raw = Self {
            kind: message.kind,
            payload: message.payload.to_vec(),
        };
        let mut header = NetlinkHeader::default();
        header.flags = message.flags;
        Ok(NetlinkMessage::new(
            header,
            NetlinkPayload::InnerMessage(raw),
        ))
    }

    fn netfilter(&self) -> Result<(u16, &[u8]), DecodeError> {
        decode::netfilter(&self.payload)
    }
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.payload.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.payload);
    }
}

impl NetlinkDeserializable for Raw {
    type Error = PacketError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self {
            kind: header.message_type,
            payload: payload.to_vec(),
        })
    }
}
