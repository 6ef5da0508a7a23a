//! Certificates of agents and clients that run: exchanged, revoked, out of time, made by ctctl.

mod clock;
mod pki;
mod reconnect;
mod reload;
mod revoked;
mod rotation;
mod version;
