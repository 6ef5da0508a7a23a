//! The gRPC server: tonic, with limits where its defaults have none.

use std::time::Duration;

use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::accept::Incoming;
use super::calls::CountCalls;
use super::limits::ConnectionLimits;
use crate::api::{Guard, SMALL_MESSAGE};
use crate::lifecycle::Watch;
use crate::pb;

/// Streams that a client makes the agent reset; without a limit they are remembered for ever.
const FORCED_RESETS: usize = 1024;
/// What a client may send ahead; bulk writes over a long distance need more than 64 KiB. It lies in
/// the memory when a handler does not come to read it, which api/intake.rs reckons with.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// The services whose health is told; "" is the whole agent.
const SERVICES: [&str; 4] = [
    "",
    "ctfleet.v1.FlowService",
    "ctfleet.v1.ExpectationService",
    "ctfleet.v1.AgentService",
];

/// A server that runs.
pub(super) struct Server {
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    health: HealthReporter,
}

impl Server {
    /// Serves the routes, health and reflection until the drain.
    pub(super) async fn start(
        (routes, guard): (Routes, Guard),
        incoming: Incoming,
        limits: ConnectionLimits,
        drain: Watch,
    ) -> Self {
        let (health, health_service) = tonic_health::server::health_reporter();
        for service in SERVICES {
            health
                .set_service_status(service, ServingStatus::Serving)
                .await;
        }
        let health_service = health_service.max_decoding_message_size(SMALL_MESSAGE);
        let mut routes = routes.add_service(health_service);
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1();
        match reflection {
            Ok(service) => {
                let service = service.max_decoding_message_size(SMALL_MESSAGE);
                routes = routes.add_service(service);
            }
            Err(error) => tracing::error!(%error, "no server reflection"),
        }
        let server = tonic::transport::Server::builder()
            .max_concurrent_streams(limits.streams)
            .http2_max_local_error_reset_streams(Some(FORCED_RESETS))
            .http2_keepalive_interval(Some(limits.keepalive_interval))
            .http2_keepalive_timeout(Some(limits.keepalive_timeout))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(limits.header_size)
            .layer(CountCalls)
            .layer(guard)
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, async move { drain.started().await });
        Self {
            task: tokio::spawn(server),
            health,
        }
    }

    /// Comes back when the server ends by itself, and says why.
    pub(super) async fn ended(&mut self) -> String {
        match (&mut self.task).await {
            Ok(Ok(())) => "no listener is left".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Tells those who watch the agent's health that it stops, and ends their streams.
    pub(super) async fn not_serving(&self) {
        let mut health = self.health.clone();
        for service in SERVICES {
            health
                .set_service_status(service, ServingStatus::NotServing)
                .await;
            // Streams end with their service; otherwise they would outlast every deadline.
            health.clear_service_status(service).await;
        }
    }

    /// Waits until the last connection is closed, for so long.
    pub(super) async fn finish(mut self, deadline: Duration) {
        if tokio::time::timeout(deadline, &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
        }
    }
}
