//! Certificates of agents and clients that run: exchanged, revoked, out of time, made by ctctl.

mod reload;
