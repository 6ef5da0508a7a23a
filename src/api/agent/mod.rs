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
use super::caller::Caller;
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
        request: Request<GetInfoRequest>,
    ) -> Result<Response<GetInfoResponse>, Status> {
        let caller = Caller::of(&request)?;
        info::get(&self.context, &caller).await.map(Response::new)
    }

    async fn get_settings(
        &self,
        request: Request<GetSettingsRequest>,
    ) -> Result<Response<GetSettingsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = settings::get(&caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn update_settings(
        &self,
        request: Request<UpdateSettingsRequest>,
    ) -> Result<Response<UpdateSettingsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = settings::update(&self.context, &caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_namespaces(
        &self,
        request: Request<ListNamespacesRequest>,
    ) -> Result<Response<ListNamespacesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = namespaces::list(&caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}
