//! The agent itself and the settings of its host.

mod info;
mod namespaces;
mod probe;
mod ranges;
mod settings;

use std::sync::Arc;

use tonic::{Request, Response, Status};

pub use probe::{Capability, OTHER_NAMESPACES, probe};
pub(super) use settings::read_setting;

use super::Context;
use crate::pb::bulk::agent_service_server::AgentService;
use crate::pb::*;

/// `ctfleet.v1.AgentService`.
pub(super) struct Service {
    context: Arc<Context>,
}

impl Service {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    async fn get_info(
        &self,
        _: Request<GetInfoRequest>,
    ) -> Result<Response<GetInfoResponse>, Status> {
        info::get(&self.context).await.map(Response::new)
    }

    async fn get_settings(
        &self,
        request: Request<GetSettingsRequest>,
    ) -> Result<Response<GetSettingsResponse>, Status> {
        let answer = settings::get(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn update_settings(
        &self,
        request: Request<UpdateSettingsRequest>,
    ) -> Result<Response<UpdateSettingsResponse>, Status> {
        let answer = settings::update(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_namespaces(
        &self,
        request: Request<ListNamespacesRequest>,
    ) -> Result<Response<ListNamespacesResponse>, Status> {
        let answer = namespaces::list(request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}
