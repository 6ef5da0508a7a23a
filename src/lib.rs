//! Linux connection tracking: as a library for one host, and over gRPC for a fleet.

pub mod agent;
pub mod api;
pub mod ctctl;
pub mod ctnetlink;
pub mod events;
pub mod expr;
pub mod flow;
pub mod lifecycle;
pub mod pb;
pub mod telemetry;
pub mod tls;
pub mod wire;
