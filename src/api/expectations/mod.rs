//! The list of expectations.

mod change;
mod read;
mod visible;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::Context;
use super::caller::Caller;
use super::pull::Messages;
use super::watch::Watches;
use crate::pb::bulk::expectation_service_server::ExpectationService;
use crate::pb::*;

/// `ctfleet.v1.ExpectationService`.
pub(super) struct Service {
    context: Arc<Context>,
}

impl Service {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl ExpectationService for Service {
    type DumpExpectationsStream = Messages<DumpExpectationsResponse>;
    type WatchExpectationsStream = Messages<bulk::WatchExpectationsResponse>;

    async fn dump_expectations(
        &self,
        request: Request<DumpExpectationsRequest>,
    ) -> Result<Response<Self::DumpExpectationsStream>, Status> {
        let caller = Caller::of(&request)?;
        read::dump(&self.context, &caller, request.into_inner()).map(Response::new)
    }

    async fn get_expectation(
        &self,
        request: Request<GetExpectationRequest>,
    ) -> Result<Response<GetExpectationResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = read::get(&self.context, &caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn create_expectations(
        &self,
        request: Request<CreateExpectationsRequest>,
    ) -> Result<Response<CreateExpectationsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = change::create(&self.context, &caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn delete_expectations(
        &self,
        request: Request<DeleteExpectationsRequest>,
    ) -> Result<Response<DeleteExpectationsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = change::delete(&self.context, &caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn flush_expectations(
        &self,
        request: Request<FlushExpectationsRequest>,
    ) -> Result<Response<FlushExpectationsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = change::flush(&self.context, &caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn watch_expectations(
        &self,
        request: Request<WatchExpectationsRequest>,
    ) -> Result<Response<Self::WatchExpectationsStream>, Status> {
        let caller = Caller::of(&request)?;
        let watches = Watches::of(&self.context, &caller);
        watches
            .expectations(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn get_expectation_stats(
        &self,
        request: Request<GetExpectationStatsRequest>,
    ) -> Result<Response<GetExpectationStatsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let answer = read::stats(&caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}
