//! The connection tracking table.

mod change;
mod create;
mod create_judged;
mod dump;
mod ends;
mod flush;
mod read;
mod told;

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use super::Context;
use super::caller::Caller;
use super::pull::Messages;
use super::watch::Watches;
use crate::pb::bulk::flow_service_server::FlowService;
use crate::pb::*;

/// `ctfleet.v1.FlowService`.
pub(super) struct Service {
    context: Arc<Context>,
}

impl Service {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl FlowService for Service {
    type DumpFlowsStream = Messages<bulk::DumpFlowsResponse>;
    type CreateFlowsStream = Messages<CreateFlowsResponse>;
    type WatchFlowsStream = Messages<bulk::WatchFlowsResponse>;

    async fn dump_flows(
        &self,
        request: Request<DumpFlowsRequest>,
    ) -> Result<Response<Self::DumpFlowsStream>, Status> {
        let caller = Caller::of(&request)?;
        dump::dump(&self.context, &caller, request.into_inner()).map(Response::new)
    }

    async fn get_flow(
        &self,
        request: Request<GetFlowRequest>,
    ) -> Result<Response<GetFlowResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = read::get(&self.context, &caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn create_flows(
        &self,
        request: Request<Streaming<bulk::CreateFlowsRequest>>,
    ) -> Result<Response<Self::CreateFlowsStream>, Status> {
        let caller = Caller::of(&request)?;
        create::create(&self.context, &caller, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn update_flows(
        &self,
        request: Request<UpdateFlowsRequest>,
    ) -> Result<Response<UpdateFlowsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = change::update(&self.context, &caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn delete_flows(
        &self,
        request: Request<DeleteFlowsRequest>,
    ) -> Result<Response<DeleteFlowsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = change::delete(&self.context, &caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn flush_flows(
        &self,
        request: Request<FlushFlowsRequest>,
    ) -> Result<Response<FlushFlowsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = flush::flush(&self.context, &caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn count_flows(
        &self,
        request: Request<CountFlowsRequest>,
    ) -> Result<Response<CountFlowsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = read::count(&self.context, &caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn watch_flows(
        &self,
        request: Request<WatchFlowsRequest>,
    ) -> Result<Response<Self::WatchFlowsStream>, Status> {
        let caller = Caller::of(&request)?;
        let watches = Watches::of(&self.context, &caller);
        watches.flows(request.into_inner()).await.map(Response::new)
    }

    async fn get_stats(
        &self,
        request: Request<GetStatsRequest>,
    ) -> Result<Response<GetStatsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = read::stats(&caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}
